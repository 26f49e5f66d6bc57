"""The parts of the sampler that a non-Gaussian prior needs, on a Gaussian one that hides its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.inference.split_gibbs import log_smoothed_ratio
from blindlens.prior import GaussianPrior


@pytest.mark.parametrize("x64, tolerance", [(True, 1e-6), (False, 5e-3)])
def test_line_integral_of_the_score_is_the_log_density_ratio(x64, tolerance):
    """Of the prior smoothed by rho, whose covariance is S + rho^2."""
    rho = 0.05
    with jax.enable_x64(x64):
        r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
        prior = GaussianPrior.from_profiles(
            8, r, np.exp(-r / 0.3), 0.2 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k), 10.0, 0.0, "test", delta=0.1
        )
        dtype = jnp.float64 if x64 else jnp.float32
        prior = jax.tree.map(lambda leaf: leaf.astype(dtype), prior)
        x = prior.sample(jax.random.key(1), (2,)).astype(dtype)
        B = np.asarray(prior.basis, float)
        E = B / np.linalg.norm(B, axis=0)
        S = B @ B.T + 0.1**2 * (np.eye(64) - E @ E.T) + rho**2 * np.eye(64)
        d = np.asarray(x - prior.mean, float).reshape(2, 64)
        exact = float(d[1] @ np.linalg.solve(S, d[1]) - d[0] @ np.linalg.solve(S, d[0])) / 2
        assert abs(exact) > 1
        ratio = float(log_smoothed_ratio(Hidden(prior), x[0], x[1], rho))
        assert abs(ratio - exact) < tolerance * abs(exact) + tolerance
        # controls: half the way is not the way, and the prior itself is not the smoothed one
        assert abs(float(log_smoothed_ratio(Hidden(prior), (x[0] + x[1]) / 2, x[1], rho)) - exact) > 0.1
        assert abs(float(prior.log_ratio(x[0], x[1])) - exact) > 0.1
