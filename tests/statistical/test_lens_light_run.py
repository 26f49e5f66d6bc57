"""The whole path with the lens galaxy's light and a neighbour in the image: found, told apart, and masked."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY_LENS

from blindlens.config import RunConfig
from blindlens.inference.pipeline import infer
from blindlens.lens.light import sersic
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate

CONFIG = RunConfig().replace(
    flux_scale=1.0,
    source_fov=3.0,
    chains=2,
    draws=16,
    trim=False,
    initialise={"draws": 200, "starts": 4, "steps": 30, "polish_steps": 8, "keep": 2, "rank": 20, "most_rank": 48},
    split_gibbs={"warmup": 8, "thin": 1},
)


@pytest.fixture(scope="module")
def seen(tiny_system):
    """A system of 30 x 30 pixels: truth, lens light, the star, and what the run with default light makes of it."""
    tiny, prior = tiny_system
    (made,) = simulate(
        jax.random.key(3),
        tiny.source[None],
        TINY_LENS,
        shape=(30, 30),
        pixel_scale=0.2,
        fov=3.0,
        sigma=1.0,
        psf_fwhm=0.3,
        params={name: np.array([value]) for name, value in tiny.truth.items()},
    )
    x, y = made.observation.coordinates()
    p = {"I_e": 8.0, "n": 1.5, "R_e": 0.5, "q": 0.7, "phi": 1.0, "x0": 0.0, "y0": 0.0}
    light = np.asarray(sersic({k: jnp.asarray(v) for k, v in p.items()}, jnp.asarray(x), jnp.asarray(y)))
    star = 40 * np.exp(-((x - 2.3) ** 2 + (y + 2.2) ** 2) / 0.08)
    observation = replace(made.observation, image=made.observation.image + light + star)
    return made, light, np.hypot(x - 2.3, y + 2.2), infer(observation, prior, LensModel(("sie",)), CONFIG)


@pytest.mark.slow
def test_light_and_source_are_told_apart(seen):
    made, light, _, posterior = seen
    assert posterior.attrs["config"]["lens_light"] == "mge2"
    row = posterior.summary()["parameters"]["Rein"]
    assert abs(row["mean"] / made.truth["Rein"] - 1) < 0.03
    assert 0.8 < posterior.summary()["chi2_per_pixel"] < 1.25
    used = posterior.image("mask") != 0
    found = posterior.image("lens_light")
    arcs = posterior.image("model") - found
    # the noise of a pixel is 1, the light reaches 60 and the arcs ten times the noise
    assert np.sqrt(np.mean((found - light)[used] ** 2)) < 1.0
    assert np.sqrt(np.mean((arcs - made.noiseless)[used] ** 2)) < 1.0
    # control: without the light, or without the source, the errors would be these
    assert np.sqrt(np.mean(light[used] ** 2)) > 3 and np.sqrt(np.mean(made.noiseless[used] ** 2)) > 2


@pytest.mark.slow
def test_the_star_is_masked_and_noted(seen):
    _, _, distance, posterior = seen
    masked = posterior.image("mask") == 0
    assert masked[distance < 0.15].all()
    assert any("masked" in note for note in posterior.attrs["notes"])


@pytest.mark.slow
@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="the search follows the star down to S/N 3 in an image smoothed by two pixels",
)
def test_the_mask_of_the_star_leaves_the_arcs(seen):
    """It reaches 1.3 arcsec, where the arcs are up to 1.7 times the noise."""
    made, _, distance, posterior = seen
    masked = posterior.image("mask") == 0
    assert not masked[distance > 1.2].any()
    assert np.abs(made.noiseless[masked]).max() < 0.5  # of the noise
