"""The Gaussian that a density looks like where its gradients were seen."""

import numpy as np


def fitted_to_gradients(
    position: np.ndarray,
    gradient: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    earlier: float,
    least: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and lower factor (d, d) of the Gaussian whose score P (m - x) is nearest to the gradients.

    In units of the earlier Gaussian, mean and factor, which counts as `earlier` draws: with the scatter C of the
    positions about their mean and B that of -gradient and position, P C + C P = B + B^T has the least squares; the
    eigenvalues of P are `least` or more. Gradients tell more than draws: each is d numbers, and those of a chain that
    has seen one side of the density tell its curvature as well. position, gradient: (N, d). weight: (N,).
    """
    used = (weight > 0) & np.isfinite(gradient).all(1) & np.isfinite(position).all(1)
    w = weight[used].astype(np.float64)
    if w.sum() == 0:
        return mean, factor
    factor = np.asarray(factor, np.float64)
    z = np.linalg.solve(factor, (position[used] - np.asarray(mean, np.float64)).T).T
    g = gradient[used] @ factor
    middle, slope = w @ z / w.sum(), w @ g / w.sum()
    around = (z - middle) * w[:, None]
    own = earlier * np.eye(len(factor))
    size, axes = np.linalg.eigh(around.T @ (z - middle) + own)
    B = axes.T @ (own - around.T @ (g - slope)) @ axes
    precision = axes @ ((B + B.T) / (size[:, None] + size)) @ axes.T
    size, axes = np.linalg.eigh(precision)
    inverse = (axes / np.maximum(size, least)) @ axes.T
    share = w.sum() / (w.sum() + earlier)
    return mean + factor @ (share * (middle + inverse @ slope)), np.linalg.cholesky(factor @ inverse @ factor.T)
