"""The flux scale that a score prior gives to a source."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.config import RunConfig
from blindlens.inference.brightness import balance, brightened, pull
from blindlens.inference.evidence import Evidence, Mode
from blindlens.inference.problem import build_problem
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import GaussianPrior

N, SIGMA = 16, 0.5


def prior(texture=1.0, mean=1.0):
    """Of sources about the middle, with so much structure."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 6.0)
    sd = texture * (0.05 + 0.3 * np.exp(-r / 0.4))
    return GaussianPrior.from_profiles(
        N, r, mean * np.exp(-((r / 0.5) ** 2)), sd, k, 1 / (1 + k) ** 2, 10.0, 0.0, "test"
    )


@pytest.mark.parametrize("gain", [0.0, 0.25, -0.25])
def test_sources_of_the_prior_pull_neither_way(gain):
    hidden = Hidden(prior(), n=N)
    x = prior().sample(jax.random.key(1), (400,))
    at = jax.jit(lambda key, x: pull(hidden, key, x, jnp.zeros(()), jnp.asarray(gain), jnp.asarray(SIGMA)))
    values = np.asarray(jax.lax.map(lambda item: at(*item), (jax.random.split(jax.random.key(2), len(x)), x)))
    z = values.mean() / (values.std() / np.sqrt(len(x)))
    # the control: sources made brighter are pulled down, fainter ones up
    assert abs(z) < 4 if gain == 0 else np.sign(gain) * z < -6


def test_a_source_of_white_noise_gets_its_variance():
    class White(Hidden):
        def __call__(self, x_t, sigma):
            return x_t / (1 + jnp.asarray(sigma) ** 2)

    u = 3 * jax.random.normal(jax.random.key(3), (64, 64))
    white, end = White(prior(), n=64), jnp.asarray(3.0)
    gain = float(jax.jit(lambda u: balance(white, jax.random.key(4), u, 0.0, -end, end, jnp.asarray(SIGMA)))(u))
    assert gain == pytest.approx(float(np.log(64 / jnp.linalg.norm(u))), abs=0.01)


LENS = {"Rein": 1.2, "q": 0.7, "phi": 0.3, "x0": 0.0, "y0": 0.0, "xs": 0.05, "ys": -0.03}


def posed(flux_scale):
    """An image of a source of the prior at a flux scale of 1, and the Gaussian, of four times its texture, to begin
    with: the evidence with that.
    """
    lens, true, rough = LensModel(mass=("sie",)), prior(), prior(4.0)
    source = true.scale * np.asarray(true.sample(jax.random.key(5)))
    params = {name: jnp.full(1, value) for name, value in LENS.items()}
    how = {"shape": (24, 24), "pixel_scale": 0.16, "fov": 2.4, "psf_fwhm": 0.2, "sigma": 0.05, "params": params}
    made = simulate(jax.random.key(6), source[None], lens, **how)[0]
    config = RunConfig().replace(lens_light="none", flux_scale=flux_scale, supersampling=2)
    return Evidence(build_problem(made.observation, true, lens, config, 2.4), rough.basis, rough.mean)


def best_mode(full):
    """Of the flux scale; the rest is given."""
    tried = np.geomspace(0.2, 5, 41)
    etas = jnp.stack([full.problem.space.to_normal(LENS | {"flux_scale": f}) for f in tried])
    values = jax.lax.map(full.log_posterior, etas)
    best = etas[int(jnp.argmax(values))][None]
    return Mode(best, jnp.eye(best.shape[1])[None], jnp.max(values)[None])


@pytest.mark.slow
def test_modes_of_a_gaussian_of_too_much_texture_get_the_flux_scale_of_the_prior():
    full = posed("infer")
    mode = best_mode(full)
    hidden = Hidden(prior(), n=N)
    # a start that failed, beside: it stays one, and harms nobody
    nowhere = Mode(jnp.full_like(mode.eta, jnp.nan), mode.factor, jnp.full(1, -jnp.inf))
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), mode, nowhere)
    assert not jnp.isfinite(brightened(jax.random.key(7), both, full, hidden, SIGMA).eta[1]).all()
    now = brightened(jax.random.key(7), mode, full, hidden, SIGMA)
    at = full.problem.space.block("flux_scale")[1]
    others = np.arange(mode.eta.shape[1]) != at
    np.testing.assert_array_equal(now.eta[:, others], mode.eta[:, others])
    f = [float(full.problem.params(m.eta[0])["flux_scale"]) for m in (mode, now)]
    print("flux scale (1 is true) of the Gaussian, and of the denoiser:", f)
    assert abs(np.log(f[1])) < 0.25
    # the control: the Gaussian's own
    assert np.log(f[0]) < -0.6


def test_a_known_flux_scale_stays():
    full = posed(1.0)
    eta = full.problem.space.to_normal(LENS)[None]
    mode = Mode(eta, jnp.eye(eta.shape[1])[None], jnp.zeros(1))
    assert brightened(jax.random.key(7), mode, full, Hidden(prior(), n=N), SIGMA) is mode
