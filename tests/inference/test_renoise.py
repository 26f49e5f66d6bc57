"""The parts of the sampler for priors without a density, on a Gaussian one that hides its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.config import RenoiseConfig
from blindlens.errors import BlindlensError
from blindlens.inference.renoise import log_shift_ratio
from blindlens.inference.renoise_run import adapted, ladder
from blindlens.prior import GaussianPrior


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (1, 1)])
def test_shift_ratio_is_that_of_the_smoothed_prior(shift):
    """log N(T x_t; mean, S + sigma^2) - log N(x_t; ...)."""
    n, sigma = 16, 0.3
    with jax.enable_x64(True):
        r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
        prior = GaussianPrior.from_profiles(
            n, r, 2 * np.exp(-((r / 0.5) ** 2)), 0.05 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k) ** 2, 10.0, 0.0, "test"
        )
        prior = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), prior)
        x_t = prior.sample(jax.random.key(1)) + sigma * jax.random.normal(jax.random.key(2), (n, n))
        # a shift by the Fourier series is the shift by whole pixels where there is no power at the Nyquist frequency
        waves = jnp.fft.fft2(x_t).at[n // 2].set(0).at[:, n // 2].set(0)
        x_t = jnp.fft.ifft2(waves).real
        B = np.asarray(prior.basis)
        E = B / np.linalg.norm(B, axis=0)
        S = B @ B.T + prior.delta**2 * (np.eye(n * n) - E @ E.T) + sigma**2 * np.eye(n * n)

        def log_density(x):
            d = np.asarray(x - prior.mean).ravel()
            return -d @ np.linalg.solve(S, d) / 2

        exact = log_density(jnp.roll(x_t, (shift[1], shift[0]), (0, 1))) - log_density(x_t)
        ours = float(log_shift_ratio(Hidden(prior, n=n), x_t, jnp.array(shift), jnp.asarray(sigma)))
        assert abs(exact) > 1
        assert abs(ours - exact) < 1e-6 * abs(exact)
        # control: the other way round
        assert abs(float(log_shift_ratio(Hidden(prior, n=n), x_t, -jnp.array(shift), jnp.asarray(sigma))) - exact) > 1


def test_noise_must_fall():
    for levels in ({"first": 0.05}, {"last": 0.005}, {"end": 0.1}):
        with pytest.raises(BlindlensError, match="noise must fall"):
            RenoiseConfig.from_mapping(levels)
    sigmas = ladder(RenoiseConfig(), 0.5)
    assert len(sigmas) == RenoiseConfig().levels + 1 and (np.diff(sigmas) < 0).all() and sigmas[0] == pytest.approx(0.5)


def test_sweeps_start_lower_where_the_mean_source_does_not_explain_the_image():
    stage, good, bad = RenoiseConfig(), np.array([[1.0, 0.9, 0.98]] * 4), np.array([[3.0, 1.2, 1.0]] * 4)
    first = stage.first
    for _ in range(20):
        assert stage.last < adapted(stage, first, bad) < first or first == pytest.approx(1.2 * stage.last)
        first = adapted(stage, first, bad)
    assert first == pytest.approx(1.2 * stage.last)
    for _ in range(30):
        first = adapted(stage, first, good)
    assert first == stage.first
