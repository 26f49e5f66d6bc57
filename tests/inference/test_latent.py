"""The parts of the sampler in the flow's coordinates, on a Gaussian prior that hides its density."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.config import LatentConfig, RunConfig
from blindlens.errors import BlindlensError
from blindlens.inference.evidence import Evidence
from blindlens.inference.latent import Latent, Point, factored
from blindlens.inference.problem import build_problem, condition
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import GaussianPrior

STAGE = LatentConfig(sigma=0.3, steps=12)


@pytest.fixture(scope="module", params=["none", "mge"])
def begun(request):
    """A sampler, with and without lens light, eta and x_t."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 3.0)
    gaussian = GaussianPrior.from_profiles(
        8, r, np.exp(-r / 0.3), 0.1 + 0.4 * np.exp(-r / 0.35), k, 1 / (1 + k**2), 10.0, 0.0, "tiny", delta=0.02
    )
    x, lens = gaussian.sample(jax.random.key(0)), LensModel(("sie",))
    (made,) = simulate(jax.random.key(1), np.asarray(10 * x)[None], lens, shape=(14, 14), pixel_scale=0.4, fov=3.0)
    config = RunConfig().replace(flux_scale=1.0, source_fov=3.0, lens_light=request.param)
    prior = Hidden(gaussian)
    problem = build_problem(made.observation, prior, lens, config, 3.0)
    eta = jnp.zeros(problem.space.size)
    eta = eta.at[: lens.space.size].set(
        lens.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    )
    sampler = Latent(problem, prior, jnp.linalg.qr(gaussian.basis)[0][:, :20], STAGE)
    return sampler, eta, x + STAGE.sigma * jax.random.normal(jax.random.key(2), x.shape), x


@eqx.filter_jit
def source(sampler, x_t):
    return sampler.source(x_t)[0]


def log_density(sampler, eta, x_t):
    """log p(y, l | x_t), the light integrated out."""
    return Evidence(sampler.problem, sampler.nothing, sampler.source(x_t)[0]).log_posterior(eta)


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["mge"], indirect=True)
def test_slopes_are_the_gradients_of_what_a_flight_is_accepted_on(begun):
    sampler, eta, x_t, _ = begun
    ours = eqx.filter_jit(sampler.slopes)(eta, x_t)
    by_eta, by_x = jax.jit(jax.grad(lambda *at: log_density(sampler, *at), (0, 1)))(eta, x_t)
    np.testing.assert_allclose(ours.score, (sampler.prior(x_t, STAGE.sigma) - x_t) / STAGE.sigma**2, rtol=1e-4)
    np.testing.assert_allclose(ours.by_eta, by_eta, atol=2e-3 * float(jnp.abs(by_eta).max()))
    np.testing.assert_allclose(ours.by_x, by_x, atol=2e-3 * float(jnp.abs(by_x).max()))
    # control: as if the data saw x_t itself
    there = source(sampler, x_t)
    seen = jax.jit(jax.grad(lambda x: Evidence(sampler.problem, sampler.nothing, x).log_posterior(eta)))(there)
    assert float(jnp.abs(seen - by_x).max()) > 0.1 * float(jnp.abs(by_x).max())


def test_the_flow_goes_there_and_back(begun):
    sampler, _, _, x = begun
    x_t = eqx.filter_jit(sampler.latent)(jax.random.key(3), x)
    assert float(jnp.std(x_t - x)) == pytest.approx(STAGE.sigma, rel=0.3)  # noise, and of that size
    assert float(jnp.abs(source(sampler, x_t) - x).max()) < 3 * STAGE.end
    assert float(jnp.abs(source(sampler, x) - x).max()) > 5 * STAGE.end


@pytest.mark.parametrize("begun", ["mge"], indirect=True)
def test_the_metric_is_the_precision_of_a_linear_image(begun):
    """For a Gaussian prior: second derivatives of the log density through the flow, the image linear there."""
    sampler, eta, x_t, _ = begun
    problem, Q, d, n = sampler.problem, sampler.probes, len(eta), x_t.shape[0]
    b, H = eqx.filter_jit(problem.system)(eta, sampler.nothing, source(sampler, x_t))
    a, G = condition(b, H)[1][1:], np.asarray(H[:, 1:], float)

    def moved(u):
        return x_t + STAGE.sigma * (Q @ u[d:]).reshape(n, n)

    def precision(seen):
        u = jnp.concatenate([eta, jnp.zeros(Q.shape[1])])
        image = lambda u: problem.residual(u[:d], seen(moved(u)), a).ravel()  # noqa: E731
        F = np.asarray(jax.jit(jax.jacfwd(image))(u), float)
        free = F - G @ np.linalg.solve(G.T @ G + np.eye(G.shape[1]), G.T @ F)
        slope = jax.jacfwd(lambda u: Q.T @ sampler.prior(moved(u), STAGE.sigma).ravel() / STAGE.sigma)
        J = np.asarray(jax.jit(slope)(u)[:, d:])
        prior = np.eye(len(u))
        prior[d:, d:] -= J
        return F.T @ free + prior

    def off(P):
        """The largest factor, either way, between the claimed and that precision, in any direction."""
        factors = np.linalg.eigvals(np.linalg.solve(P, ours)).real
        return np.abs(np.log(factors)).max()

    ours = np.asarray(eqx.filter_jit(sampler.metric)(eta, x_t), float)
    assert off(precision(lambda x_t: sampler.source(x_t)[0])) < 0.25  # the flow's steps are few
    assert off(precision(lambda x_t: sampler.prior(x_t, STAGE.sigma))) > 0.5  # control: dPhi is not dD


def test_metrics_that_rounding_has_made_indefinite_are_factored():
    """Eigenvalues of a good image, next to which single precision cannot tell those of the prior from nothing."""
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.normal(size=(2, 30, 30)))[0]
    lam = np.geomspace(1, 1e9, 30)
    exact = (V * lam) @ np.swapaxes(V, 1, 2)
    rounded = exact.astype(np.float32).astype(float)
    rounded = (rounded + np.swapaxes(rounded, 1, 2)) / 2
    assert np.linalg.eigvalsh(rounded).min() < 0
    L = factored(rounded)
    np.testing.assert_array_equal(L, np.tril(L))
    kept = np.linalg.eigvalsh(L @ np.swapaxes(L, 1, 2))
    np.testing.assert_allclose(kept[:, 20:], np.tile(lam[20:], (2, 1)), rtol=1e-3)
    # what is well known is left as it is
    small = (V * np.geomspace(1, 100, 30)) @ np.swapaxes(V, 1, 2)
    np.testing.assert_allclose(factored(small), np.linalg.cholesky(small), rtol=1e-8, atol=1e-8)


def test_a_sweep_moves_lens_and_source_together_with_the_light(begun):
    """From a point of the posterior: accepted flights, another lens and source, amplitudes drawn for both. Without
    light, also without translations and without a new metric.
    """
    sampler, eta, x_t, _ = begun
    translations = 0 if sampler.problem.light is None else 2
    stage = sampler.stage.model_copy(update={"translations": translations, "moves": 1, "leaps": 2})
    sampler = Latent(sampler.problem, sampler.prior, sampler.probes, stage)
    L = jnp.asarray(factored(np.asarray(eqx.filter_jit(sampler.metric)(eta, x_t), float)), jnp.float32)
    sweep = eqx.filter_jit(lambda sampler, *arguments: sampler.sweep(*arguments))
    point, seen, P = sweep(
        sampler, jax.random.key(5), Point(eta, x_t), L, jnp.asarray(0.1), jnp.asarray(translations > 0)
    )
    assert float(seen.acceptance) > 0.5
    assert float(jnp.abs(point.eta - eta).max()) > 1e-4 and float(jnp.abs(point.x_t - x_t).max()) > 1e-3
    np.testing.assert_allclose(seen.x, source(sampler, point.x_t), atol=1e-4)
    light = jax.eval_shape(lambda eta: sampler.problem.light_images(sampler.problem.params(eta)), eta)
    assert seen.a.size == light.shape[0]
    chi2 = eqx.filter_jit(sampler.problem.chi2)(point.eta, seen.x, seen.a)
    assert float(seen.chi2_per_pixel) == pytest.approx(float(chi2), rel=1e-4)
    assert bool(jnp.any(P != 0)) == (translations > 0)


def test_the_flow_ends_below_where_it_begins():
    with pytest.raises(BlindlensError, match="give an `end` below `sigma`"):
        LatentConfig.from_mapping({"sigma": 0.01})
