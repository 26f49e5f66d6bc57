"""The package's own galaxies as a set of images: as many as asked for, painted when read."""

from typing import final

import numpy as np

from ...errors import BlindlensError
from ..galaxies import BATCH, GalaxyRecipe, galaxies
from .images import Images, in_range

COUNT = 65536  # of plain "procedural"


@final
class Procedural(Images):
    """Galaxies 0 to count - 1 of a seed; `field` is the side of the stamp in kpc, the recipe's if None.

    Galaxies are painted 32 neighbours at a time: read them in order (or `prepared`), not at random. The unit,
    "procedural", is the one in which 98 % of all pixels lie below 10.115. BlindlensError for a negative seed or
    fewer than one galaxy.
    """

    def __init__(self, count: int = COUNT, seed: int = 0, n: int = 64, field: float | None = None):
        if count < 1 or seed < 0:
            raise BlindlensError(f"procedural:N:SEED takes N >= 1 and SEED >= 0, not {count} and {seed}")
        self.recipe = GalaxyRecipe() if field is None else GalaxyRecipe(field_of_view=field)
        self.count, self.seed, self.n, self.unit = count, seed, n, "procedural"
        self.name = f"procedural:{count}:{seed}"

    def __len__(self) -> int:
        return self.count

    def read(self, numbers: np.ndarray) -> np.ndarray:
        numbers = in_range(numbers, self.count, self.name)
        out = np.empty((numbers.size, self.n, self.n), np.float32)
        for block in np.unique(numbers // BATCH):
            here = numbers // BATCH == block
            first = int(numbers[here].min())
            painted = galaxies(self.seed, int(numbers[here].max()) - first + 1, self.n, self.recipe, first)
            out[here] = painted[numbers[here] - first]
        return out

    def groups(self) -> np.ndarray:
        return np.array([f"procedural:{self.seed}/{i}" for i in range(self.count)])

    def identity(self) -> dict:
        return {"kind": "procedural", "count": self.count, "seed": self.seed, "n": self.n} | {
            "recipe": self.recipe.model_dump(mode="json")
        }
