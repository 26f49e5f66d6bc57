"""Do a prior's draws look like images it has not seen? Power per wavenumber, brightness, and how galaxies are built."""

from typing import Any

import numpy as np
import scipy.fft

from ..prior.structure import structure
from .stacks import image_stack

RESAMPLES = 200  # of the bootstrap over images
CHUNK = 256  # images at a time
SHARES = (0.1, 0.5, 0.9)  # quantiles listed of structure


def power_ratio(samples: Any, held_out: Any, seed: Any = 0) -> dict[str, list]:
    """Radially averaged power of both sets (k, n, n), and the ratio of their medians over images, per wavenumber.

    Returns lists over `wavenumber` 1 .. n/2, cycles per field of view: the medians `samples` and `held_out`, and
    `ratio` with `ratio_se` (bootstrap over images). Hann window: images do not close at the edges, and would leak power
    into high wavenumbers. Raises BlindlensError for stacks of other or different shapes.
    """
    samples, held_out = _both(samples, held_out)
    ours, theirs = band_power(samples), band_power(held_out)
    ratio, se = median_ratio(ours, theirs, np.random.default_rng(seed))
    return {
        "wavenumber": list(range(1, ours.shape[1] + 1)),
        "samples": np.median(ours, 0).tolist(),
        "held_out": np.median(theirs, 0).tolist(),
        "ratio": ratio.tolist(),
        "ratio_se": se.tolist(),
    }


def band_power(images: np.ndarray) -> np.ndarray:
    """Mean |FFT|^2 / n^2 of windowed images (k, n, n), less their mean, in rings of integer wavenumber 1 .. n/2."""
    n = images.shape[1]
    window = np.hanning(n + 2)[1:-1]
    window = window[:, None] * window
    k = np.fft.fftfreq(n, 1 / n)
    ring = np.rint(np.hypot(k[:, None], k)).astype(int).ravel()
    rings = np.stack([(ring == j) / np.sum(ring == j) for j in range(1, n // 2 + 1)], 1)
    parts = []
    for start in range(0, len(images), CHUNK):
        some = np.asarray(images[start : start + CHUNK], np.float64)
        some = (some - np.sum(some * window, (1, 2), keepdims=True) / window.sum()) * window
        parts.append((np.abs(scipy.fft.fft2(some)) ** 2).reshape(len(some), -1) @ rings / n**2)
    return np.concatenate(parts)


def brightness_shares(samples: Any, held_out: Any, bins: int = 24) -> dict:
    """Share of pixels per bin of brightness in both sets (k, n, n), and its error from image to image.

    Bins are even in asinh(x / w), w the median |x| of held_out, and span its 0.01 % to 99.99 % of pixels; the first
    and the last are open. Returns lists over bins: `samples`, `held_out`, `samples_se`, `held_out_se` and
    `deviation` = difference / standard error (0 where both are empty); the inner `edges`, one fewer than bins; and the
    number `distance`, half the sum of |differences|: 0 for equal histograms, 1 for ones that share nothing. Pixels of
    an image are not independent, so errors are those of means over images. Raises BlindlensError for stacks of other
    or different shapes.
    """
    samples, held_out = _both(samples, held_out)
    width = float(np.median(np.abs(held_out))) or float(held_out.std()) or 1.0
    low, high = np.arcsinh(np.quantile(held_out, (1e-4, 1 - 1e-4)) / width)
    edges = width * np.sinh(np.linspace(low, max(high, low + 1e-6), bins - 1))
    (p, p_se), (q, q_se) = (_shares(v, edges) for v in (samples, held_out))
    # An empty bin says that its share is below about one image's: it has an error, too.
    error = np.hypot(np.maximum(p_se, 1 / samples.size), np.maximum(q_se, 1 / held_out.size))
    return {
        "edges": edges.tolist(),
        "samples": p.tolist(),
        "samples_se": p_se.tolist(),
        "held_out": q.tolist(),
        "held_out_se": q_se.tolist(),
        "deviation": ((p - q) / error).tolist(),
        "distance": float(np.abs(p - q).sum() / 2),
    }


def _shares(images: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over images of the share of pixels in each bin, and its standard error, (len(edges) + 1,) each."""
    size = images[0].size
    counts = np.stack([np.bincount(np.searchsorted(edges, v.ravel()), minlength=len(edges) + 1) for v in images])
    return counts.mean(0) / size, counts.std(0, ddof=1) / size / np.sqrt(len(images))


def structure_ratio(samples: Any, held_out: Any, scale: float, offset: float, seed: Any = 0) -> dict[str, Any]:
    """Quantiles of the five statistics of `blindlens.prior.structure` for both sets (k, n, n), in model units.

    They are measured on surface brightness s = scale x + offset. Returns for each statistic the 10, 50 and 90 % of
    `samples` and of `held_out`, and the medians' `ratio` with `ratio_se` (bootstrap over images); and `unusable`, the
    number of images of either set without positive flux, or whose statistics are not finite, which are left out.
    Ratios are NaN if no image is left. Raises BlindlensError for stacks of other or different shapes.
    """
    rng = np.random.default_rng(seed)
    (ours, bad), (theirs, worse) = (_measured(scale * v + offset) for v in _both(samples, held_out))
    out: dict[str, Any] = {"unusable": {"samples": bad, "held_out": worse}}
    for name in ours:
        ratio, se = median_ratio(ours[name][:, None], theirs[name][:, None], rng)
        quantiles = (np.quantile(v, SHARES).tolist() if len(v) else None for v in (ours[name], theirs[name]))
        out[name] = dict(zip(("samples", "held_out"), quantiles, strict=True))
        out[name] |= {"ratio": float(ratio[0]), "ratio_se": float(se[0])}
    return out


def _measured(images: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    """Structure of the images for which it is defined, and how many it isn't."""
    bright = images[images.sum((1, 2), dtype=np.float64) > 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = structure(bright)
    good = np.isfinite(np.stack(list(values.values()))).all(0)
    return {name: v[good] for name, v in values.items()}, len(images) - int(good.sum())


def median_ratio(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of the medians over the first axis, and its standard error by resampling rows of both; NaN if empty."""
    if not (len(a) and len(b)):
        return np.full(a.shape[1], np.nan), np.full(a.shape[1], np.nan)
    again = [
        np.median(a[rng.integers(len(a), size=len(a))], 0) / np.median(b[rng.integers(len(b), size=len(b))], 0)
        for _ in range(RESAMPLES)
    ]
    return np.median(a, 0) / np.median(b, 0), np.std(again, 0, ddof=1)


def _both(samples: Any, held_out: Any) -> tuple[np.ndarray, np.ndarray]:
    samples = image_stack(samples, "samples", least=2)
    return samples, image_stack(held_out, "held_out", samples.shape[1], least=2)
