"""A square stamp of n x n pixels out of the middle of an image of any size, by area-weighted means."""

import functools

import numpy as np

from ...errors import BlindlensError


def stamp(image: np.ndarray, side: float, n: int, where: object) -> np.ndarray:
    """Mean surface brightness (n, n) float32 in the pixels of the central square, `side` pixels of `image` wide.

    side need not be whole, and pixels count by the area that they share; what lies outside the image is empty (0).
    Flux is kept exactly: sum(stamp) (side / n)^2 = flux of the image within the square. `where` names the image in
    the BlindlensError for fewer than n pixels a side (a prior must not learn interpolated pixels) or pixels not finite.
    """
    if side < n * (1 - 1e-6):
        raise BlindlensError(
            f"{where}: the field is only {side:.4g} pixels wide; ask for n <= {int(side)} or more field"
        )
    inner = central(image, side)
    if not np.isfinite(inner).all():
        raise BlindlensError(f"{where} has pixels that are not finite; mend or remove the image")
    rows, columns = (_weights(size, float(side), n) for size in inner.shape)
    return (rows @ inner.astype(np.float64) @ columns.T).astype(np.float32)


def central(image: np.ndarray, side: float) -> np.ndarray:
    """The part of an image (h, w) that a central square of `side` pixels touches: the same margin on both sides."""
    margins = [max(0, int(np.floor((size - side) / 2))) for size in image.shape]
    return image[margins[0] : image.shape[0] - margins[0], margins[1] : image.shape[1] - margins[1]]


@functools.lru_cache(64)
def _weights(size: int, side: float, n: int) -> np.ndarray:
    """(n, size): the share of each of n cells, together `side` wide and centred, that each pixel covers."""
    edges = (size - side) / 2 + side / n * np.arange(n + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.maximum(overlap, 0) * n / side
