"""Is there lens light, and what shape has it? On images made of known parts."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.config import RunConfig
from blindlens.inference.collect import with_noise_scale
from blindlens.inference.light_guess import light_at_centre, light_guess
from blindlens.inference.problem import lens_light
from blindlens.inference.scales import image_scales, settled
from blindlens.lens.light import sersic
from blindlens.lens.simulate import gaussian_psf
from blindlens.observation import Observation

SCALE = 0.1
SHAPE = {"q": 0.6, "phi": 2.0, "x0": 0.06, "y0": -0.04}


def image_of(light: float, ring: float, centre=(0.0, 0.0), seed=0) -> Observation:
    """A galaxy about as bright at its centre as `light` and a ring of radius 1.2 arcsec with a bright side."""
    empty = Observation(np.zeros((61, 61)), np.full((61, 61), 0.02), gaussian_psf(0.2, SCALE), None, SCALE)
    x, y = empty.coordinates()
    p = {**SHAPE, "x0": SHAPE["x0"] + centre[0], "y0": SHAPE["y0"] + centre[1], "I_e": light / 6, "n": 1.5, "R_e": 0.8}
    galaxy = np.asarray(sersic({k: jnp.asarray(v) for k, v in p.items()}, jnp.asarray(x), jnp.asarray(y)))
    arcs = ring * np.exp(-((np.hypot(x, y) - 1.2) ** 2) / 0.02) * (1 + np.cos(np.arctan2(y, x) - 1)) / 2
    noise = 0.02 * np.random.default_rng(seed).normal(size=empty.shape)
    return replace(empty, image=galaxy + arcs + noise)


@pytest.mark.parametrize("light, ring, there", [(3.0, 0.5, True), (0.4, 1.0, True), (0, 1.0, False), (0, 0, False)])
def test_light_at_the_centre_is_seen_and_rings_are_not_taken_for_it(light, ring, there):
    assert [light_at_centre(image_of(light, ring, seed=k)) for k in range(5)] == 5 * [there]


def test_the_edge_of_an_arc_is_no_galaxy():
    observation = image_of(0, 0)
    x, y = observation.coordinates()
    arc = np.exp(-((x - 0.45) ** 2) / 0.02 - (y / 0.6) ** 2)  # bright within 0.3 arcsec of the centre, not peaked there
    assert not light_at_centre(replace(observation, image=observation.image + arc))


def test_the_guess_finds_the_shape_and_leaves_the_arcs():
    observation = image_of(3.0, 0.5)
    guess = light_guess(observation)
    assert abs(guess.shape["x_light"] - 0.06) < 0.03 and abs(guess.shape["y_light"] + 0.04) < 0.03
    assert abs(guess.shape["q_light"] - 0.6) < 0.11 and abs(guess.shape["phi_light"] - 2.0) < 0.25
    x, y = observation.coordinates()
    bright = (np.abs(np.hypot(x, y) - 1.2) < 0.1) & (np.abs(np.arctan2(y, x) - 1) < 0.5)
    left = (observation.image - guess.model)[bright].mean()
    truth = image_of(0, 0.5).image[bright].mean()
    assert abs(left / truth - 1) < 0.15
    assert observation.image[bright].mean() > 1.2 * truth  # the galaxy is there too


def test_masked_pixels_mean_nothing():
    observation = image_of(3.0, 0.5)
    mask = np.ones(observation.shape, bool)
    mask[10:14, 40:44] = False
    mask[30, 30] = False
    wild = np.where(mask, observation.image, 1e5)
    a, b = (light_guess(replace(observation, image=image, mask=mask)) for image in (observation.image, wild))
    assert a.shape == b.shape
    np.testing.assert_allclose(a.model, b.model)


def test_what_is_automatic_is_decided_by_the_image_and_said():
    config, notes = settled(RunConfig(), image_of(3.0, 0.5))
    assert config.lens_light == "mge2" and config.lens.ranges["t"] == (0.5, 1.5) and len(notes) == 2
    config, notes = settled(RunConfig(), image_of(0, 1.0))
    assert config.lens_light == "none" and config.lens.ranges == {} and notes == []
    given = RunConfig(lens_light="sersic").replace(lens={"priors": "paper", "ranges": {"q": (0.5, 0.9)}})
    config, notes = settled(given, image_of(0, 1.0))
    assert config.lens_light == "sersic" and config.lens.ranges == {"q": (0.5, 0.9)} and notes == []


def test_ranges_follow_the_mass_and_the_users_win():
    mine = RunConfig().replace(lens={"mass": ("sie", "multipole4"), "priors": "wide", "ranges": {"Rein": (1.0, 1.2)}})
    ranges = mine.lens.prior_ranges("wide")
    assert ranges["Rein"] == (1.0, 1.2) and set(ranges) == {"q", "Rein", "a_4", "xs", "ys"}


def test_the_scale_of_the_source_is_that_of_the_arcs():
    """Of an image with a far brighter lens galaxy, about the arcs' own brightness."""
    observation, alone = image_of(3.0, 0.5), image_of(0, 0.5)
    with_light = image_scales(observation, RunConfig(lens_light="mge"))
    assert with_light.arcs == pytest.approx(image_scales(alone, RunConfig()).arcs, rel=0.4)
    assert image_scales(observation, RunConfig()).arcs > 2 * with_light.arcs


def test_the_prior_of_a_gaussian_follows_the_galaxys_profile():
    """Its sd is twice what the galaxy reaches beyond the width, within the guess's error; not that of the core."""
    observation = image_of(3.0, 0.5)
    config = RunConfig(lens_light="mge")
    light = lens_light(config, image_scales(observation, config))
    x, y = observation.coordinates()
    r, alone = np.hypot(x - 0.06, y + 0.04), image_of(3.0, 0.0).image
    sigmas, sd = np.asarray(light.sigmas), np.asarray(light.amplitude)
    for k in np.flatnonzero((sigmas > 0.3) & (sigmas < 1.2)):
        assert sd[k] == pytest.approx(2 * alone[r >= sigmas[k]].max(), rel=0.25)
    assert (np.diff(sd) <= 0).all() and sd[0] > 20 * sd[-1]


def test_a_galaxy_off_the_middle_lies_within_its_prior():
    """Large pixels let the brightest spot lie further out than its prior: it is moved to the end."""
    far = Observation(image_of(3.0, 0).image, np.full((61, 61), 0.02), gaussian_psf(0.2, SCALE), None, 0.5)
    guess = light_guess(far).shape
    eta = (
        lens_light(RunConfig(lens_light="mge"), image_scales(far, RunConfig(lens_light="mge")))
        .space()
        .to_normal({name: jnp.asarray(value) for name, value in guess.items()})
    )
    assert np.isfinite(eta).all()


def test_what_goes_without_light_says_so_and_redshifts_are_nobodys_business():
    seen = image_of(3.0, 0.5)
    config, notes = settled(RunConfig(method="bird"), seen)
    assert config.lens_light == "none" and "without light" in notes[0]
    known = RunConfig().replace(physics={"z_lens": 0.3, "z_source": 1.0})
    assert settled(known, seen)[0].lens == settled(RunConfig(), seen)[0].lens
    halo = known.replace(lens={"mass": ("epl", "nfw_subhalo")})
    assert settled(halo, seen)[0].lens.z_lens == 0.3
    assert not RunConfig().masks_neighbours and settled(RunConfig(), seen)[0].masks_neighbours


def test_the_posterior_has_the_noise_that_the_model_has():
    seen = image_of(3.0, 0.5)
    draws = {"noise_scale": np.array([[1.8, 2.2]])}
    inferred = with_noise_scale(seen, RunConfig(noise_scale="infer"), draws)
    given = with_noise_scale(seen, RunConfig(noise_scale=2.0), {})
    for told in (inferred, given):
        np.testing.assert_allclose(told.noise, 2 * seen.noise)
        assert "2 times the map" in told.notes[-1]
    assert with_noise_scale(seen, RunConfig(), {}) is seen
