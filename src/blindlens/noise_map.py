"""The noise of each pixel: from a map of any of the usual kinds, or from background and exposure."""

from typing import Literal

import numpy as np
import scipy.ndimage

from .errors import BlindlensError

ENOUGH = 20.0
"""Signal to noise from which on light is taken from the image as it is."""
SMOOTHING = (4.0, 2.0, 1.0)
"""Widths (sigma in pixels) of the Gaussians that fainter light is averaged over."""
STRANGE = 3.0
"""A noise map this many times off the image's own scatter is remarked upon."""

Kind = Literal["sigma", "variance", "inverse variance"]


def standard_deviation(values: np.ndarray, kind: Kind) -> np.ndarray:
    """1 sigma per pixel from sigma, variance or inverse variance; 0, which means unusable, where that is not > 0."""
    if kind == "sigma":
        return values
    positive = np.where(np.isfinite(values) & (values > 0), values, np.inf if kind == "inverse variance" else 0.0)
    return np.sqrt(positive if kind == "variance" else 1 / positive)


def noise_from_background(
    image: np.ndarray, background_rms: float, exposure: float | None = None, gain: float | None = None
) -> np.ndarray:
    """sigma^2 = background_rms^2 + max(F, 0) / (gain exposure) per pixel: background and photon noise; (ny, nx).

    image: background-subtracted; counts, or counts per second where an exposure is given. background_rms: standard
    deviation of the empty sky, in the image's units. exposure: seconds. gain: electrons per count. Without exposure and
    gain there is no photon term; one of them alone leaves the other at 1. F is the image averaged over as few pixels as
    reach a signal to noise of 20: were F the noisy pixel itself, pixels that scatter low would weigh more, and a fit
    would come out one electron per pixel too faint. Raises BlindlensError for numbers that are not positive.
    """
    given = {"background rms": background_rms, "exposure": exposure, "gain": gain}
    for what, value in given.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise BlindlensError(f"the {what} must be a positive number, not {value}")
    if exposure is None and gain is None:
        return np.full(image.shape, float(background_rms))
    electrons = (exposure or 1.0) * (gain or 1.0)
    finite = np.isfinite(image)
    raw = np.where(finite, image, 0.0)
    smooth = None
    for width in SMOOTHING:
        weight = scipy.ndimage.gaussian_filter(finite.astype(float), width, mode="constant")
        mean = scipy.ndimage.gaussian_filter(raw, width, mode="constant") / np.maximum(weight, 1e-6)
        # the error of such a mean is that of one pixel over sqrt(4 pi) sigma
        smooth = mean if smooth is None else _finer(smooth, mean, background_rms, electrons, np.sqrt(4 * np.pi) * width)
    assert smooth is not None
    smooth = _finer(smooth, raw, background_rms, electrons, 1.0)
    return np.sqrt(background_rms**2 + np.maximum(smooth, 0) / electrons)


def _finer(coarse: np.ndarray, fine: np.ndarray, rms: float, electrons: float, gained: float) -> np.ndarray:
    """`fine` where the coarser average says that its signal to noise is enough."""
    light = np.maximum(coarse, 0)
    return np.where(light * gained > ENOUGH * np.sqrt(rms**2 + light / electrons), fine, coarse)


def remark(image: np.ndarray, noise: np.ndarray, used: np.ndarray) -> str | None:
    """A sentence if the noise is far from how much neighbouring pixels of the fainter half of the image differ."""
    faint = used & (image <= np.median(image[used]))
    pairs = faint[:, 1:] & faint[:, :-1]
    if pairs.sum() < 30:
        return None
    difference = (image[:, 1:] - image[:, :-1])[pairs] / np.hypot(noise[:, 1:], noise[:, :-1])[pairs]
    scatter = 1.4826 * np.median(np.abs(difference))
    if scatter == 0 or 1 / STRANGE < scatter < STRANGE:
        return None
    return (
        f"in its faint half the image scatters {scatter:.2g} times as much as the noise map says; it must hold one "
        "standard deviation per pixel (not a variance, a weight or an exposure time)"
    )
