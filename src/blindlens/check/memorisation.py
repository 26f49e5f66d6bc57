"""Does a prior repeat its training images? Nearest neighbours of its samples, against those of unseen images."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import BlindlensError
from .stacks import image_stack

BLOCK = 4096  # training images at a time


def memorisation(
    samples: Any,
    held_out: Any,
    training: Any,
    quantile: float = 0.01,
    turns: bool = True,
    advance: Callable[..., None] | None = None,
) -> dict[str, float | int]:
    """Share of samples closer to the training set than the `quantile` closest of the unseen images held_out.

    All (k, n, n). Two statistics, of which each has the expectation `quantile` for a prior that draws new images as
    unseen ones are: d1, the distance to the nearest training image, and d1 / d2, to the nearest over the second
    nearest (Yoon et al. 2023, "Diffusion probabilistic models generalize when they fail to memorize"). A prior that
    draws too many faint or smooth images has a large share in d1 alone, since these lie close to everything. Where the
    training set holds an image twice, d1 / d2 is blind for its copies and d1 is not.

    Returns `close` and `close_ratio`, the shares; `se`, the standard error of either at its expectation, with that of
    the quantile; `expected` = quantile; the medians of d1 (`median_samples`, `median_held_out`), as root mean square
    per pixel; the sizes `samples`, `held_out`, `training`. turns: an image's eight turns and reflections count as one.
    `advance`: called with the number of training images done, samples and held_out each once.

    Raises BlindlensError for stacks of different shapes or so few held-out images that none lies below the quantile.
    """
    samples = image_stack(samples, "samples")
    held_out, training = (
        image_stack(v, w, samples.shape[1]) for v, w in ((held_out, "held_out"), (training, "training"))
    )
    if len(held_out) * quantile < 1:
        raise BlindlensError(f"the {quantile:g} quantile needs {int(np.ceil(1 / quantile))} held-out images")
    ours, theirs = (nearest_two(v, training, turns, advance) for v in (samples, held_out))
    pairs = [(f(ours), f(theirs)) for f in (lambda d: d[:, 0], lambda d: d[:, 0] / np.maximum(d[:, 1], 1e-30))]
    close, close_ratio = (float(np.mean(a < np.quantile(b, quantile))) for a, b in pairs)
    return {
        "close": close,
        "close_ratio": close_ratio,
        "expected": quantile,
        "se": float(np.sqrt(quantile * (1 - quantile) * (1 / len(samples) + 1 / len(held_out)))),
        "median_samples": float(np.median(ours[:, 0]) / samples.shape[1]),
        "median_held_out": float(np.median(theirs[:, 0]) / samples.shape[1]),
        "samples": len(samples),
        "held_out": len(held_out),
        "training": len(training),
    }


def nearest_two(
    images: np.ndarray, training: np.ndarray, turns: bool = True, advance: Callable[..., None] | None = None
) -> np.ndarray:
    """Euclidean distances (k, 2) of images (k, n, n) to the nearest and the second nearest of `training` (m, n, n).

    turns: to the nearest of a training image's eight turns and reflections. 2 k m n^2 operations, eight times that
    with turns. Raises BlindlensError for fewer than two training images.
    """
    if len(training) < 2:
        raise BlindlensError(f"nearest neighbours need at least 2 training images, not {len(training)}")
    middle = training[:BLOCK].mean(0, dtype=np.float64).astype(np.float32)  # for precision only, as in pqmass
    queries = [_flat(view - middle) for view in (_turned(images) if turns else [images])]
    best = np.full((len(images), 2), np.inf, np.float32)
    for start in range(0, len(training), BLOCK):
        block = _flat(training[start : start + BLOCK] - middle)
        square = np.einsum("kd,kd->k", block, block)
        d2 = np.full((len(images), len(block)), np.inf, np.float32)
        for query in queries:
            np.minimum(d2, np.einsum("kd,kd->k", query, query)[:, None] + square - 2 * (query @ block.T), out=d2)
        best = np.partition(np.concatenate([best, d2], 1), 1, 1)[:, :2]
        if advance is not None:
            advance(len(block))
    return np.sqrt(np.maximum(best, 0))


def _turned(images: np.ndarray) -> list[np.ndarray]:
    """The eight turns and reflections, each (k, n, n)."""
    return [np.rot90(view, k, (1, 2)) for view in (images, images[:, :, ::-1]) for k in range(4)]


def _flat(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images, np.float32).reshape(len(images), -1)
