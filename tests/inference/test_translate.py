"""Translations of the source's field leave the prior as it is, and any target with it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from blindlens.config import RunConfig
from blindlens.inference import split_gibbs
from blindlens.inference.problem import build_problem
from blindlens.lens.mass import LensModel
from blindlens.observation import Observation
from blindlens.prior import load_prior
from blindlens.sampler.kernels import init, propose

CHAINS, MOVES = 6000, 30


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    observation = Observation(rng.normal(size=(12, 12)) + 1.0, np.ones((12, 12)), np.ones((1, 1)), None, 0.1)
    return build_problem(observation, load_prior("galaxy-gaussian", 8), LensModel(), RunConfig(lens_light="none"), 1.2)


def moved(problem, log_posterior):
    """Coordinates of (xs, ys) before and after, of chains that begin as N(0, 1)."""
    model = SimpleNamespace(problem=problem, log_posterior=log_posterior)

    def chain(key):
        start_key, *keys = jax.random.split(key, MOVES + 1)
        eta = jax.random.normal(start_key, (problem.space.size,))
        step = lambda state, key: (split_gibbs.translate(key, state, model)[0], None)  # noqa: E731
        state, _ = jax.lax.scan(step, init(eta, log_posterior), jnp.stack(keys))
        return eta, state.position

    before, after = jax.vmap(chain)(jax.random.split(jax.random.key(1), CHAINS))
    where = np.array([problem.space.block(name)[1] for name in ("xs", "ys")])
    rest = np.delete(np.arange(problem.space.size), where)
    np.testing.assert_array_equal(before[:, rest], after[:, rest])
    return np.asarray(before[:, where]), np.asarray(after[:, where])


def normal(eta):
    return -jnp.sum(eta**2) / 2


def test_the_prior_stays(problem):
    before, after = moved(problem, normal)
    assert np.mean(np.abs(after - before) > 0.05) > 0.9  # they do move
    for axis in (0, 1):
        assert kstest(after[:, axis], "norm").pvalue > 1e-3
        whole = np.abs(before[:, axis] - after[:, axis])
        assert len(np.unique(whole.round(4))) > CHAINS / 2  # not by whole pixels alone


def test_control_without_the_priors_shape_it_does_not(problem, monkeypatch):
    def shapeless(key, state, log_density, position, log_factor):
        return propose(key, state, log_density, position, jnp.where(jnp.isfinite(log_factor), 0.0, -jnp.inf))

    monkeypatch.setattr(split_gibbs, "propose", shapeless)
    _, after = moved(problem, normal)
    assert all(kstest(after[:, axis], "norm").pvalue < 1e-6 for axis in (0, 1))
