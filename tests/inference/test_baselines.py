"""Other methods for an unknown operator: their steps against their formulas, and what they find on a tiny system."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from conftest import TINY_CONFIG, TINY_LENS

from blindlens.config import BirdConfig, BlindDPSConfig, FastEMConfig, RunConfig
from blindlens.errors import BlindlensError
from blindlens.inference.baselines.bird import Bird
from blindlens.inference.baselines.blind_dps import BlindDPS
from blindlens.inference.baselines.fast_em import FastEM
from blindlens.inference.pipeline import infer
from blindlens.inference.problem import build_problem
from blindlens.sampler.schedule import Schedule

CONFIG = TINY_CONFIG.replace(draws=2)


@pytest.fixture(scope="module")
def problem(tiny_system):
    made, prior = tiny_system
    return build_problem(made.observation, prior, TINY_LENS, CONFIG, 3.0)


@pytest.fixture(scope="module")
def truth(tiny_system):
    """eta (d,) and x (8, 8)."""
    made, prior = tiny_system
    eta = TINY_LENS.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    return eta, jnp.asarray(made.source / prior.scale)


def test_blind_dps_pulls_both_means_down_the_misfit(problem, tiny_system, truth):
    prior, sigma = tiny_system[1], jnp.asarray(0.3)
    key = jax.random.key(0)
    u = jnp.concatenate([truth[1].ravel(), truth[0]]) + sigma * jax.random.normal(key, (64 + 7,))
    mean = np.concatenate([np.asarray(prior(u[:64].reshape(8, 8), sigma)).ravel(), np.asarray(u[64:] / (1 + sigma**2))])

    @jax.jit
    def misfit(u):
        x, eta = prior(u[:64].reshape(8, 8), sigma), u[64:] / (1 + sigma**2)
        return jnp.linalg.norm(problem.residual(eta, x, jnp.zeros(0)))

    pulled = {}
    for zeta, zeta_lens in ((1.0, 1e-9), (1e-9, 0.5)):
        method = BlindDPS(problem, prior, Schedule(), BlindDPSConfig(zeta=zeta, zeta_lens=zeta_lens))
        pulled[zeta > zeta_lens] = np.asarray(eqx.filter_jit(method.denoise)(u, sigma)) - mean
    step = 2e-3
    for i, zeta in ((3, 1.0), (30, 1.0), (64 + 2, 0.5), (64 + 5, 0.5)):
        unit = jnp.zeros(71).at[i].set(step)
        slope = float(misfit(u + unit) - misfit(u - unit)) / (2 * step)
        assert pulled[i < 64][i] == pytest.approx(-zeta * slope, rel=0.03, abs=2e-3)
    # each length is that of its own part
    assert np.abs(pulled[True][64:]).max() < 1e-5 and np.abs(pulled[False][:64]).max() < 1e-5


def test_the_lens_of_fast_em_maximises_its_objective(problem, tiny_system, truth):
    eta, x = truth
    method = FastEM(problem, tiny_system[1], Schedule(), FastEMConfig())
    sources = x + 0.02 * jax.random.normal(jax.random.key(1), (3, 8, 8))
    begin = eta + 0.1 * jax.random.normal(jax.random.key(2), eta.shape)
    step, cost = eqx.filter_jit(method.newton), eqx.filter_jit(method.cost)
    costs, carry = [float(cost(begin, sources))], (begin, jnp.asarray(1e-2))
    for _ in range(30):
        carry = step(carry, sources)
        costs.append(float(cost(carry[0], sources)))
    assert all(after <= before for before, after in zip(costs, costs[1:], strict=False))
    # where another optimiser ends, too; the beginning is not there
    slope = jax.jit(jax.value_and_grad(lambda eta: method.cost(eta, sources)))
    best = scipy.optimize.minimize(lambda eta: tuple(map(np.asarray, slope(eta))), begin, jac=True, method="BFGS").fun
    assert costs[-1] < best + 0.1 < costs[0]


def test_bird_makes_sources_of_the_prior_out_of_noise(problem, tiny_system):
    prior = tiny_system[1]
    sd = {}
    for steps in (300, 2):
        method = Bird(problem, prior, Schedule(), BirdConfig(steps=steps))
        z = jax.random.normal(jax.random.key(3), (400, 8, 8))
        x = np.asarray(jax.jit(lambda z, method=method: jax.lax.map(method.source, z))(z)).reshape(400, -1)
        E, lam = np.asarray(prior.basis / jnp.linalg.norm(prior.basis, axis=0)), np.asarray(prior.eigenvalues)
        sd[steps] = ((x - np.asarray(prior.mean).ravel()) @ E).std(0)[:4] / np.sqrt(lam[:4])
    # the flow maps noise to the prior; two steps of it don't
    assert np.abs(sd[300] - 1).max() < 4 / np.sqrt(800) + 0.03
    assert np.abs(sd[2] - 1).max() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, settings", [("blind-dps", {"steps": 300}), ("fast-em", {"steps": 100}), ("bird", {"iterations": 200})]
)
def test_a_baseline_explains_the_image_and_says_what_it_is(tiny_system, tmp_path, method, settings):
    made, prior = tiny_system
    config = CONFIG.replace(method=method, **{method.replace("-", "_"): settings})
    posterior = infer(made.observation, prior, TINY_LENS, config, out=tmp_path)
    chi2 = posterior.tree["sample_stats"]["chi2_per_pixel"].values
    assert chi2.shape == (2, 2) and np.median(chi2) < 1.6
    assert posterior.source.shape == (2, 2, 8, 8) and posterior.source.values.std() > 0
    assert any("baseline" in warning for warning in posterior.summary()["warnings"])
    if method == "fast-em":  # both share a lens
        assert np.ptp(posterior.lens["Rein"].values, 1).max() == 0
    # control: prior sources behind the same lenses explain nothing
    problem = build_problem(made.observation, prior, TINY_LENS, CONFIG, 3.0)
    eta = TINY_LENS.space.to_normal({str(k): jnp.asarray(v.values[0, 0]) for k, v in posterior.lens.items()})
    other = prior.sample(jax.random.key(9))
    assert float(problem.chi2(eta, other, jnp.zeros(0))) > 3


def test_baselines_go_without_lens_light():
    with pytest.raises(BlindlensError, match="bird goes without lens light"):
        RunConfig().replace(method="bird", lens_light="mge")
