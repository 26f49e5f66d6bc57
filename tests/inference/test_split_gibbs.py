"""The parts of the sampler that a non-Gaussian prior needs, on a Gaussian one that hides its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.inference.split_gibbs import log_prior_ratio
from blindlens.prior import GaussianPrior


@pytest.mark.parametrize("x64, tolerance", [(True, 1e-3), (False, 0.05)])
def test_line_integral_of_the_score_is_the_log_density_ratio(x64, tolerance):
    with jax.enable_x64(x64):
        r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
        prior = GaussianPrior.from_profiles(
            8, r, np.exp(-r / 0.3), 0.2 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k), 10.0, 0.0, "test", delta=0.1
        )
        dtype = jnp.float64 if x64 else jnp.float32
        prior = jax.tree.map(lambda leaf: leaf.astype(dtype), prior)
        x = prior.sample(jax.random.key(1), (2,)).astype(dtype)
        exact = float(prior.log_ratio(x[0], x[1]))
        assert abs(exact) > 1
        assert abs(float(log_prior_ratio(Hidden(prior), x[0], x[1])) - exact) < tolerance * abs(exact) + tolerance
        # control: half the way is not the way
        assert abs(float(log_prior_ratio(Hidden(prior), (x[0] + x[1]) / 2, x[1])) - exact) > 0.1
