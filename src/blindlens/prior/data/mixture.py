"""Several sets of images as one, in given shares and one unit."""

from collections.abc import Callable, Sequence
from typing import Literal, final

import numpy as np

from ...errors import BlindlensError
from .images import Images, in_range
from .normalisation import normalisation


@final
class Mixture(Images):
    """`parts` in proportion to `shares` (by default to their sizes).

    Every image of every part occurs; where a part is too small for its share its images occur several times, equally
    often to within one. Brightness is multiplied by each part's factor (`factors`, kept as an attribute) to be in
    `unit`, by default the first part's. factors="match" brings all parts to the scale of the first: factor =
    C_first / C_part, C of `normalisation`. BlindlensError for parts of different n, of a unit other than `unit`
    without a factor, for shares that aren't positive, and for counts that don't fit.
    """

    def __init__(
        self,
        parts: Sequence[Images],
        shares: Sequence[float] | None = None,
        factors: Sequence[float] | Literal["match"] | None = None,
        unit: str | None = None,
    ):
        self.parts = tuple(parts)
        if not self.parts:
            raise BlindlensError("a mixture needs at least one set of images")
        self.unit, self.n = unit or self.parts[0].unit, self.parts[0].n
        self.name = "+".join(part.name for part in self.parts)
        sizes = np.array([len(part) for part in self.parts], float)
        weights = sizes if shares is None else np.asarray(shares, float)
        if weights.shape != sizes.shape or not (np.isfinite(weights).all() and (weights > 0).all()):
            raise BlindlensError(f"a mixture of {len(sizes)} sets needs as many positive shares, not {shares}")
        self.shares = tuple((weights / weights.sum()).tolist())
        self.factors = self._factors(factors)
        total = float(np.max(sizes / self.shares))
        counts = np.maximum(np.rint(total * np.array(self.shares)), sizes).astype(np.int64)
        self._first = np.concatenate([[0], np.cumsum(counts)])

    def _factors(self, factors: Sequence[float] | Literal["match"] | None) -> tuple[float, ...]:
        for part in self.parts:
            if part.n != self.n:
                raise BlindlensError(
                    f"{part.name} has {part.n} pixels a side, {self.parts[0].name} {self.n}: open both with the same n"
                )
            if part.unit != self.unit and factors is None:
                raise BlindlensError(
                    f"{part.name} is in {part.unit}, the mixture in {self.unit}: give a factor for each set, or 'match'"
                )
        if factors is None:
            return (1.0,) * len(self.parts)
        if isinstance(factors, str):
            if factors != "match":
                raise BlindlensError(f"factors are one number for each set, or 'match', not {factors!r}")
            scales = [normalisation(part).scale for part in self.parts]
            return tuple(scales[0] / scale for scale in scales)
        out = tuple(float(factor) for factor in factors)
        if len(out) != len(self.parts) or not all(0 < factor < np.inf for factor in out):
            raise BlindlensError(f"a mixture of {len(self.parts)} sets needs as many positive factors, not {factors}")
        return out

    def __len__(self) -> int:
        return int(self._first[-1])

    def read(self, numbers: np.ndarray) -> np.ndarray:
        part, inside = self._place(in_range(numbers, len(self), self.name))
        out = np.empty((part.size, self.n, self.n), np.float32)
        for k, (images, factor) in enumerate(zip(self.parts, self.factors, strict=True)):
            here = part == k
            if here.any():
                out[here] = images.read(inside[here]) * np.float32(factor)
        return out

    def _place(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which part, and which image of it: repetitions spread evenly."""
        part = np.searchsorted(self._first, numbers, "right") - 1
        sizes = np.array([len(images) for images in self.parts])
        counts = np.diff(self._first)
        return part, (numbers - self._first[part]) * sizes[part] // counts[part]

    def groups(self) -> np.ndarray:
        part, inside = self._place(np.arange(len(self)))
        return np.concatenate([images.groups()[inside[part == k]] for k, images in enumerate(self.parts)])

    def identity(self) -> dict:
        return {"kind": "mixture", "parts": [part.identity() for part in self.parts], "unit": self.unit} | {
            "shares": list(self.shares),
            "factors": list(self.factors),
        }

    def each(self, change: Callable[[Images], Images]) -> "Mixture":
        """The same mixture of changed parts, such as prepared ones."""
        return Mixture([change(part) for part in self.parts], self.shares, self.factors, self.unit)
