"""What every set of training images is to a trainer: numbered, square, in one unit of surface brightness."""

import abc

import numpy as np

from ...errors import BlindlensError


class Images(abc.ABC):
    """A set of galaxy images, read by number; never whole in memory.

    `n`: pixels a side. `unit`: of surface brightness, e.g. "uJy/arcsec^2", "procedural", "arbitrary". `name`: short,
    for progress bars and checkpoints.
    """

    name: str
    n: int
    unit: str

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Surface brightness (k, n, n) float32 of the images of these numbers (k,), row 0 at the bottom.

        BlindlensError for a number out of range, or an image that is corrupt, of another shape or not finite.
        """

    @abc.abstractmethod
    def groups(self) -> np.ndarray:
        """Strings (len,): images of one group never fall on both sides of a split.

        A group's string means the same galaxy wherever it occurs, so that a set splits alike alone and in a mixture.
        """

    @abc.abstractmethod
    def identity(self) -> dict:
        """JSON-able: two sets of equal identity hold the same images; `prepared` reuses a copy on its word."""


def in_range(numbers: np.ndarray, length: int, name: str) -> np.ndarray:
    """The numbers as int64 (k,), checked against the length of the set."""
    numbers = np.atleast_1d(np.asarray(numbers))
    if numbers.size and numbers.dtype.kind not in "iu":
        raise BlindlensError(f"images of {name} are read by whole numbers, not {numbers.dtype}")
    if numbers.ndim != 1 or numbers.size and not (0 <= numbers.min() and numbers.max() < length):
        raise BlindlensError(f"{name} holds images 0 to {length - 1}; asked for {numbers.min()} to {numbers.max()}")
    return numbers.astype(np.int64)
