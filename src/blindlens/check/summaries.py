"""A source in a few numbers, whose truth is known where sources are simulated."""

import numpy as np


def source_summaries(
    images: np.ndarray,
    fov: float | np.ndarray,
    positions: np.ndarray,
    mean: np.ndarray | None = None,
    components: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Numbers (K,) of sources (K, n, n), each on a field of `fov` arcsec, one or (K,), centred on its own position
    (K, 2) = (x, y).

    `flux`: sum times a pixel's area. `centroid_x`, `centroid_y`: of the positive pixels, in the image's coordinates.
    `r50`: arcsec round the centroid within which half of the positive pixels' light lies. `component_i`: projections of
    images - mean on the columns of `components` (n*n, m), whose lengths are divided out, if there are any.
    """
    count, n = images.shape[0], images.shape[-1]
    side = (np.arange(n) - (n - 1) / 2) / n
    flat = images.reshape(count, -1).astype(np.float64)
    light = np.maximum(flat, 0)
    light /= np.maximum(light.sum(1, keepdims=True), 1e-300)
    at = np.stack([np.tile(side, n), np.repeat(side, n)], 1)
    centroid = light @ at
    radius = np.linalg.norm(at - centroid[:, None], axis=2)
    order = np.argsort(radius, 1)
    within = np.take_along_axis(light, order, 1).cumsum(1)
    half = (within >= 0.5).argmax(1)
    r50 = np.take_along_axis(radius, order, 1)[np.arange(count), half]
    named = {
        "flux": flat.sum(1) * (fov / n) ** 2,
        "centroid_x": centroid[:, 0] * fov + positions[:, 0],
        "centroid_y": centroid[:, 1] * fov + positions[:, 1],
        "r50": r50 * fov,
    }
    if mean is None or components is None:
        return named
    projected = (flat - mean.reshape(-1)) @ (components / np.sum(components**2, 0))
    return named | {f"component_{i}": column for i, column in enumerate(projected.T)}
