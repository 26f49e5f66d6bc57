"""The fit of a Sersic source: its amplitude, its gradient, and the lens it finds; a control that does not find it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from blindlens.config import RunConfig
from blindlens.inference.problem import build_problem
from blindlens.inference.sersic import SersicFit, sersic_ends, sersic_fit
from blindlens.lens.light import sersic
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate, simulation_key
from blindlens.observation import Observation
from blindlens.prior import GaussianPrior

TRUTH = {
    "x0": 0.04,
    "y0": -0.05,
    "q": 0.8,
    "phi": 0.9,
    "Rein": 1.3,
    "t": 1.05,
    "gamma_1": 0.03,
    "gamma_2": -0.02,
    "a_3": 0.005,
    "phi_3": 0.4,
    "xs": 0.12,
    "ys": -0.08,
}
SOURCE = {"q_sersic": 0.7, "phi_sersic": 2.0, "n_sersic": 1.3, "R_e_sersic": 0.3}
LENS = LensModel()
FOV = 3.2
CONFIG = RunConfig().replace(
    flux_scale=1.0, source_fov=FOV, supersampling=2, initialise={"sersic": {"starts": 16, "steps": 250, "batch": 8}}
)
STAGE = CONFIG.initialise.sersic


def fit_to(observation: Observation, config: RunConfig = CONFIG) -> SersicFit:
    flat = np.ones(30)
    # a prior says how the source would be sampled; its galaxies are not used
    prior = GaussianPrior.from_profiles(
        8, np.linspace(0, 1.5, 30), flat, flat, np.arange(3.0), flat[:3], 1.0, 0.0, "any"
    )
    return sersic_fit(build_problem(observation, prior, LENS, config, FOV), LENS, config.initialise.sersic)


@pytest.fixture(scope="module")
def system():
    """A Sersic source on a grid far finer than the image, lensed by the pixel operator with 8 x 8 rays per pixel."""
    n = 160
    side = (np.arange(n) - (n - 1) / 2) * FOV / n
    shape = {name.removesuffix("_sersic"): value for name, value in SOURCE.items()}
    source = sersic({**shape, "I_e": 1.0, "x0": 0.0, "y0": 0.0}, *np.meshgrid(side, side))
    params = {name: jnp.array([value]) for name, value in TRUTH.items()}
    (made,) = simulate(
        jax.random.key(1),
        np.asarray(source)[None],
        LENS,
        shape=(32, 32),
        pixel_scale=0.14,
        fov=FOV,
        psf_fwhm=0.2,
        sigma=0.05,
        params=params,
    )
    return made.observation


def plain(fit: SersicFit, eta):
    """(b, g, G) in double precision."""
    p = fit.space.from_normal(eta)
    problem = fit.problem
    light = problem.light_images(p) * problem.weight
    parts = (problem.weight * problem.y).ravel(), fit.profile(p), light.reshape(len(light), problem.y.size).T
    return tuple(np.asarray(part, float) for part in parts)


def log_likelihood(fit: SersicFit, eta) -> float:
    return float(fit.log_posterior(eta) + jnp.sum(eta**2) / 2)


def truth(fit: SersicFit):
    return fit.space.to_normal({name: jnp.asarray(value) for name, value in (TRUTH | SOURCE).items()})


def test_the_amplitude_is_the_dense_least_squares_solution(system):
    fit = fit_to(system)
    b, g, _ = plain(fit, truth(fit))
    (want,), _ = scipy.optimize.nnls(g[:, None], b)
    assert want == pytest.approx(1.0, abs=0.02)  # the simulated source's
    assert float(fit.amplitude(b, g, None)) == pytest.approx(want, rel=1e-5)
    assert log_likelihood(fit, truth(fit)) == pytest.approx(-np.sum((b - want * g) ** 2) / 2, rel=1e-5)
    # a source that would have to be negative is dark
    assert float(fit.amplitude(-b, g, None)) == 0 and np.linalg.lstsq(g[:, None], -b)[0] < 0


def test_the_amplitude_beside_lens_light(system):
    """With light a ~ N(0, I): ridge regression of all amplitudes together, the source's without a ridge."""
    x, y = system.coordinates()
    glow = 2 * np.exp(-(x**2 + y**2) / 0.3)
    observation = Observation(system.image + glow, system.noise, system.psf, system.mask, system.pixel_scale)
    fit = fit_to(observation, CONFIG.replace(lens_light="mge"))
    eta = 0.3 * jax.random.normal(jax.random.key(2), (fit.space.size,)).at[:12].set(truth(fit_to(system))[:12])
    b, g, G = plain(fit, eta)
    k = G.shape[1]
    rows = np.block([[g[:, None], G], [np.zeros((k, 1)), np.eye(k)]])
    want = np.linalg.lstsq(rows, np.append(b, np.zeros(k)))[0][0]
    V = np.eye(len(b)) + G @ G.T
    left = b - want * g
    assert float(fit.amplitude(jnp.asarray(b, "f4"), jnp.asarray(g, "f4"), jnp.asarray(G, "f4"))) == pytest.approx(
        want, rel=2e-3
    )
    value = -left @ np.linalg.solve(V, left) / 2 - np.linalg.slogdet(V)[1] / 2
    assert log_likelihood(fit, eta) == pytest.approx(value, rel=2e-3)


def test_the_gradient_against_finite_differences(system):
    with jax.enable_x64(True):
        real = lambda leaf: eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)  # noqa: E731
        fit = jax.tree.map(lambda leaf: leaf.astype(float) if real(leaf) else leaf, fit_to(system))
        eta = truth(fit) + 0.05 * jax.random.normal(jax.random.key(3), (fit.space.size,))
        value = jax.jit(lambda eta: fit.log_posterior(eta))
        ours = jax.jit(jax.grad(lambda eta: fit.log_posterior(eta)))(eta)
        h = 1e-5
        for i, direction in enumerate(np.eye(eta.size)):
            want = (value(eta + h * direction) - value(eta - h * direction)) / (2 * h)
            assert float(ours[i]) == pytest.approx(float(want), rel=1e-4, abs=1e-3)


def test_the_gradient_is_finite_where_a_ray_meets_the_centre(system):
    """No deflection, so that the rays are where the profile's cusp is."""
    fit = fit_to(system)
    ray = fit.problem.operator.rays[0]
    here = {"Rein": 0.8, "xs": float(ray.x[0, 16, 16]), "ys": float(ray.y[0, 16, 16]), "n_sersic": 4.0}
    undeflected = LensModel(ranges={"Rein": (1e-6, 1.0)})
    fit = eqx.tree_at(lambda f: f.problem.operator.lens, fit, undeflected)
    p = {name: jnp.asarray(value) for name, value in (TRUTH | SOURCE | here).items()}
    p |= {"Rein": jnp.asarray(1e-30), "gamma_1": jnp.zeros(()), "gamma_2": jnp.zeros(()), "a_3": jnp.zeros(())}
    slopes = jax.grad(lambda p: jnp.sum(fit.profile(p)))(p)
    assert all(np.isfinite(slope) for name, slope in slopes.items() if name != "Rein")


def test_adam_finds_the_lens_of_a_sersic_source(system):
    fit = fit_to(system)
    pixels = system.n_used

    def chi2(eta):
        return -2 * log_likelihood(fit, eta) / pixels

    eta, values = sersic_ends(jax.random.key(4), fit, STAGE)
    assert eta.shape == (STAGE.starts, 16) and np.isfinite(np.asarray(values)).all()
    best = eta[np.argmax(values)]
    assert abs(chi2(best) - 1) < 4 * np.sqrt(2 / pixels)
    found = fit.space.from_normal(best)
    assert abs(float(found["Rein"]) / TRUTH["Rein"] - 1) < 0.01
    for name in ("xs", "ys"):
        assert abs(float(found[name]) - TRUTH[name]) < 0.05
    # control: the best random start is nowhere near, so it is Adam that found the lens
    starts = jax.random.normal(jax.random.key(4), eta.shape)
    first = jax.lax.map(fit.log_posterior, starts)
    assert chi2(starts[np.argmax(first)]) > 2 and float(first.max()) < float(values.max()) - 500
    # an image that is not a number has no gradient: the starts stay, and no NaN spreads
    broken = eqx.tree_at(lambda f: f.problem.y, fit, fit.problem.y * jnp.nan)
    end, nowhere = sersic_ends(jax.random.key(4), broken, STAGE)
    assert np.isfinite(np.asarray(end)).all() and not np.isfinite(np.asarray(nowhere)).any()


def test_a_search_with_the_simulations_seed_does_not_meet_the_truth():
    space, seed = LensModel().space, 3
    # what a search for Sersic starts draws, after `infer` and `initialise` have split the key
    start_key, _ = jax.random.split(jax.random.key(seed))
    fit_key, _ = jax.random.split(start_key)

    def nearest(key):
        """Of the starts to the truth of the first system of that key."""
        (made,) = simulate(key, np.ones((1, 8, 8), np.float32), LensModel(), shape=(8, 8))
        eta = space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
        starts = jax.random.normal(fit_key, (48, space.size + 4))[:, : space.size]
        return float(jnp.abs(starts - eta).max(1).min())

    assert nearest(simulation_key(seed)) > 0.5
    # control: the seed's own key holds the truth among the starts
    assert nearest(jax.random.key(seed)) < 1e-3
