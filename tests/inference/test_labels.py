"""Two sets of Gaussians that make up one light go by one name each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.config import RunConfig
from blindlens.inference.evidence import Evidence, Mode
from blindlens.inference.labels import exchange, other_shapes, relabelled, relabelled_modes
from blindlens.inference.problem import build_problem
from blindlens.lens.mass import LensModel
from blindlens.observation import Observation
from blindlens.prior import load_prior


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, 20)
    light = 30 * np.exp(-10 * (axis[:, None] ** 2 + axis**2))
    observation = Observation(rng.normal(size=(20, 20)) + light, np.ones((20, 20)), np.ones((1, 1)), None, 0.1)
    return build_problem(observation, load_prior("galaxy-gaussian", 16), LensModel(), RunConfig(lens_light="mge2"), 1.5)


def exchanged(problem, eta):
    p = problem.params(eta)
    for name in ("q_light", "phi_light"):
        p[name], p[f"{name}2"] = p[f"{name}2"], p[name]
    return problem.space.to_normal(p)


def test_the_exchange_leaves_the_posterior_and_is_undone(problem):
    prior = load_prior("galaxy-gaussian", 16)
    evidence = Evidence(problem, prior.basis[:, :20], prior.mean)
    eta = 0.5 * jax.random.normal(jax.random.key(0), (problem.space.size,))
    other = exchanged(problem, eta)
    assert np.abs(other - eta).max() > 0.1
    a, b = (float(evidence.log_posterior(e)) for e in (eta, other))
    assert abs(a - b) < 0.05 and abs(a - float(evidence.log_posterior(0.9 * eta))) > 1  # control: another lens
    draws = jnp.stack([eta, other])[:, None]
    for like in (eta, other):
        np.testing.assert_allclose(relabelled(problem, draws, like), jnp.stack([like, like])[:, None], atol=1e-4)


def test_other_light_stays_as_it_is(problem):
    one = build_problem(
        Observation(np.ones((20, 20)), np.ones((20, 20)), np.ones((1, 1)), None, 0.1),
        load_prior("galaxy-gaussian", 16),
        LensModel(),
        RunConfig(lens_light="sersic"),
        1.5,
    )
    eta = jax.random.normal(jax.random.key(1), (3, one.space.size))
    np.testing.assert_array_equal(relabelled(one, eta, -eta[0]), eta)


def test_modes_that_differ_by_the_exchange_become_one(problem):
    d = problem.space.size
    eta = 0.5 * jax.random.normal(jax.random.key(2), (d,))
    factor = np.linalg.cholesky(np.cov(np.random.default_rng(3).normal(size=(d, 3 * d))))
    turned, order = np.asarray(exchange(problem, eta)), np.asarray(exchange(problem, jnp.arange(d)))
    covariance = (factor @ factor.T)[np.ix_(order, order)]
    modes = Mode(np.stack([eta, turned]), np.stack([factor, np.linalg.cholesky(covariance)]), np.array([2.0, 1.0]))
    one = relabelled_modes(problem, modes)
    np.testing.assert_allclose(one.eta[1], eta, atol=1e-6)
    np.testing.assert_allclose(one.factor[1], factor, atol=1e-5)
    assert np.abs(modes.eta[1] - modes.eta[0]).max() > 0.1  # control: they were two


def test_other_shapes_differ_in_the_light_alone(problem):
    eta = 0.5 * jax.random.normal(jax.random.key(4), (problem.space.size,))
    others = np.asarray(other_shapes(jax.random.key(5), problem, eta, 3))
    differs = (others != np.asarray(eta)).any(0)
    changed = {name for name, other in zip(problem.space.names, differs, strict=True) if other}
    assert changed == {"q_light", "phi_light", "q_light2", "phi_light2"} and len(np.unique(others, axis=0)) == 3
