"""Does the mean model leave only noise? Plain sentences where it does not."""

import numpy as np

from ..posterior import Posterior


def normalised_residual(posterior: Posterior) -> np.ndarray:
    """(image - mean model) / noise, (ny, nx); NaN where masked."""
    residual = (posterior.image("image") - posterior.image("model")) / posterior.image("noise")
    return np.where(posterior.image("mask") != 0, residual, np.nan)


def neighbour_correlation(residual: np.ndarray) -> tuple[float, float]:
    """(r, sd): mean product of neighbouring pixels over the variance, and r's standard deviation for white noise."""
    pairs = [(residual[:, 1:], residual[:, :-1]), (residual[1:], residual[:-1])]
    products = np.concatenate([(a * b)[np.isfinite(a * b)] for a, b in pairs])
    return float(products.mean() / np.nanmean(residual**2)), 1 / np.sqrt(products.size)


def drizzled(residual: np.ndarray) -> bool:
    """Do neighbouring pixels correlate while chi2 per pixel lies below 0.9, as where resampling smoothed the noise?"""
    r, sd = neighbour_correlation(residual)
    return r > max(0.05, 5 * sd) and float(np.nanmean(residual**2)) < 0.9


def residual_notes(posterior: Posterior) -> list[str]:
    """What is worth knowing of the residuals and no cause for alarm."""
    residual = normalised_residual(posterior)
    if not drizzled(residual):
        return []
    chi2, (r, _) = float(np.nanmean(residual**2)), neighbour_correlation(residual)
    return [
        f"chi2 per pixel is {chi2:.2f} and neighbouring residuals correlate by {r:.2f}: the image was resampled "
        "(drizzled), and its noise map allows for that"
    ]


def expected_chi2(pixels: int) -> tuple[float, float]:
    """chi2 per pixel of the mean model below and above which it deserves a word.

    Five standard deviations for white noise, at least 0.1; and 0.1 more below, for the noise that a source fits.
    """
    margin = max(0.1, 5 * np.sqrt(2 / pixels))
    return 1 - margin - 0.1, 1 + margin


def residual_warnings(posterior: Posterior) -> list[str]:
    """Sentences about chi2 per pixel, structure between neighbouring pixels, and single pixels far off.

    The thresholds are five standard deviations for white noise, and at least 0.1 in chi2 and 0.05 in correlation: what
    noise maps of real images are good for. Residuals that correlate and are smaller than the noise map says are those
    of a drizzled image, whose map allows for it, and no cause for a warning (`residual_notes`).
    """
    residual = normalised_residual(posterior)
    n, chi2 = int(np.isfinite(residual).sum()), float(np.nanmean(residual**2))
    words, (low, high) = [], expected_chi2(n)
    if chi2 > high:
        words.append(f"chi2 per pixel of the mean model is {chi2:.2f}: the model does not explain the image")
    elif chi2 < low and not drizzled(residual):
        words.append(f"chi2 per pixel of the mean model is {chi2:.2f}: the noise map is too large, or noise is fitted")
    r, sd = neighbour_correlation(residual)
    if r > max(0.05, 5 * sd) and not drizzled(residual):
        words.append(
            f"residuals of neighbouring pixels correlate by {r:.2f}: structure is left over, or noise is correlated"
        )
    far = int(np.sum(np.abs(residual) > 6))
    if far:
        words.append(
            f"{far} of {n} pixels lie more than 6 sigma from the model: look at the residual map, mask artefacts"
        )
    return words
