"""The scale of a set of images: C and M of s = C x + M, and the largest noise that a diffusion over them needs."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from ...errors import BlindlensError
from .images import Images

QUANTILE = 0.98  # of the pixels lie below C, arXiv:2511.04792


class Normalisation(NamedTuple):
    """Surface brightness s = scale x + offset of an image x in model units (C and M of arXiv:2511.04792)."""

    scale: float
    offset: float


def normalisation(
    images: Images, numbers: np.ndarray | None = None, sample: int = 4096, seed: int = 0
) -> Normalisation:
    """C is the 98 % quantile of all pixels of `sample` of the images (of those in `numbers`), M their median.

    The paper has C = 10.115 with 98 % of pixels below and M = 0.125 without saying how M was found; a mean of such
    pixels would be near 1, so a level of the faint outskirts is the likely reading, and the median is robust.
    Galaxies that fill little of their stamps have M near 0. BlindlensError if the pixels have no spread.
    """
    pixels = images.read(_sample(images, numbers, sample, seed))
    offset, scale = np.quantile(pixels, (0.5, QUANTILE))
    if not scale > offset:
        raise BlindlensError(f"98 % of the pixels of {images.name} are no brighter than their median: nothing to learn")
    return Normalisation(float(scale), float(offset))


def largest_distance(
    images: Images,
    normalisation: Normalisation,
    quantile: float = 0.95,
    pairs: int = 100_000,
    seed: int = 0,
    numbers: np.ndarray | None = None,
) -> float:
    """sigma_max: the quantile of |x_i - x_j| in model units over all pairs of as many images as make `pairs` pairs."""
    count = int(np.ceil(0.5 + np.sqrt(0.25 + 2 * pairs)))
    chosen = _sample(images, numbers, count, seed)
    if chosen.size < 2:
        raise BlindlensError(f"distances between images need two of them; {images.name} has {chosen.size}")
    x = images.read(chosen).reshape(chosen.size, -1).astype(np.float64) / normalisation.scale
    return float(np.quantile(pdist(x), quantile))


def _sample(images: Images, numbers: np.ndarray | None, sample: int, seed: int) -> np.ndarray:
    """Sorted: sources such as HDF5 and the painter read neighbours together."""
    numbers = np.arange(len(images)) if numbers is None else np.asarray(numbers)
    if numbers.size <= sample:
        return numbers
    return np.sort(np.random.default_rng(seed).choice(numbers, sample, replace=False))
