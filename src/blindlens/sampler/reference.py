"""The Gaussian that a density looks like where its gradients were seen."""

import numpy as np


def fitted_to_gradients(
    position: np.ndarray,
    gradient: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    earlier: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean m (d,) and lower factor (d, d) of S: S cov(gradient) S = cov(position), m = E[position] + S E[gradient].

    The Gaussian of least Fisher divergence from the draws (Seyboldt, Carlson & Carpenter, arXiv:2603.18845). If the
    density is Gaussian it is that one, wherever the draws lie: the gradients' scatter makes good what theirs lacks.
    Else S is the geometric mean of covariance and inverse mean curvature, so that steps fit the narrow places too.
    position, gradient: (N, d). weight: (N,). The earlier Gaussian, mean and factor, counts as `earlier` draws.
    """
    used = (weight > 0) & np.isfinite(gradient).all(1) & np.isfinite(position).all(1)
    w = weight[used].astype(np.float64)
    if w.sum() == 0:
        return mean, factor
    # in units of the earlier Gaussian, of whose own draws and gradients the covariance is I
    factor, own = np.asarray(factor, np.float64), earlier * np.eye(len(factor))
    x = np.linalg.solve(factor, (position[used] - np.asarray(mean, np.float64)).T).T
    g = gradient[used] @ factor
    middle, slope = w @ x / w.sum(), w @ g / w.sum()
    spread, steepness = ((w[:, None] * v).T @ v + own for v in (x - middle, g - slope))
    size, axes = np.linalg.eigh(steepness)
    root, inverse = (axes * np.sqrt(size)) @ axes.T, (axes / np.sqrt(size)) @ axes.T
    size, axes = np.linalg.eigh(root @ spread @ root)
    covariance = inverse @ (axes * np.sqrt(size)) @ axes.T @ inverse
    share = w.sum() / (w.sum() + earlier)
    return mean + factor @ (share * (middle + covariance @ slope)), np.linalg.cholesky(factor @ covariance @ factor.T)
