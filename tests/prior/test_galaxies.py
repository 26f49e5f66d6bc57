"""Procedural galaxies: keyed, sane, not periodic, and built as real galaxies are."""

import jax
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.prior.galaxies import BATCH, GalaxyRecipe, galaxies
from blindlens.prior.structure import structure

# 10, 50, 90 % of 512 of the SDSS galaxies (NGC, IC, EFIGI; 64x64) by the same structure(); their noise is in them.
SDSS = {
    "r50": (2.9, 5.7, 9.7),
    "concentration": (2.7, 3.3, 3.8),
    "asymmetry": (0.07, 0.12, 0.25),
    "gini": (0.49, 0.55, 0.59),
    "smoothness": (0.06, 0.12, 0.34),
}
# How far each percentile may lie from SDSS's: sizes and clumpiness relative, the others absolute.
TOLERANCE = {"r50": 0.25, "concentration": 0.2, "asymmetry": 0.05, "gini": 0.04, "smoothness": 0.12}


@pytest.fixture(scope="module")
def sample():
    return galaxies(3, 480)


def misfits(images):
    """Names of the statistics with a percentile further from SDSS's than tolerated."""
    found = set()
    for name, values in structure(images).items():
        off = np.abs(np.percentile(values, (10, 50, 90)) - SDSS[name])
        if (off > TOLERANCE[name] * (np.array(SDSS[name]) if name == "r50" else 1)).any():
            found.add(name)
    return found


def test_structure_is_that_of_real_galaxies(sample):
    assert misfits(sample) == set()


def test_structure_control_smooth_discs_fail():
    smooth = GalaxyRecipe(
        early=0, irregular=0, arms=0, bars=0, rings=0, flocculence_range=(0, 0), dust=0, knots=(0.01, 1e4),
        lopsided=(-20, 0), warp=(-20, 0), companions=0,
    )  # fmt: skip
    assert {"asymmetry", "smoothness"} <= misfits(galaxies(3, 160, recipe=smooth))


def test_finite_and_not_negative(sample):
    assert sample.dtype == np.float32
    assert np.isfinite(sample).all() and (sample >= 0).all()
    assert (sample.max((1, 2)) > 0.5).all()


def test_brightness(sample):
    """98 % of all pixels below C = 10.115; fluxes spread over 0.3 to 0.5 dex; the same brightness at other npix."""
    assert np.percentile(sample, 98) == pytest.approx(10.115, rel=0.25)
    assert 0.25 < np.log10(sample.sum((1, 2))).std() < 0.6
    coarse = galaxies(3, 64, npix=32)
    np.testing.assert_allclose(coarse.mean((1, 2)), sample[:64].mean((1, 2)), rtol=0.1)  # knots move


def test_galaxy_depends_on_seed_and_number_alone(sample):
    np.testing.assert_array_equal(galaxies(3, 5), sample[:5])
    np.testing.assert_array_equal(galaxies(3, BATCH + 3, first=7), sample[7 : 7 + BATCH + 3])
    assert galaxies(3, 0).shape == (0, 64, 64)
    other = galaxies(4, 5)
    assert (np.abs(other - sample[:5]).max((1, 2)) > 0.1 * other.max((1, 2))).all()


def test_generator_stands_for_its_next_seed():
    a, b = (galaxies(np.random.default_rng(5), 2) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    rng = np.random.default_rng(5)
    assert not np.array_equal(galaxies(rng, 2), galaxies(rng, 2))


def test_double_precision_changes_nothing_visible(sample):
    with jax.enable_x64(True):
        double = galaxies(3, 32)
    assert double.dtype == np.float32
    peak = sample[:32].max((1, 2), keepdims=True)
    # a knot may land on the next grid point where a cumulative sum rounds the other way
    assert np.median(np.abs(double - sample[:32]) / peak) < 1e-5


def test_companions_do_not_wrap():
    """Companions at the edge leave it there: the opposite edge stays as it is without them."""
    far = {"companion_distance_range": (24.0, 25.0), "companion_log_flux_range": (-0.4, -0.3), "tidal": 0.0}
    small = {"irregular": 0.0, "early": 1.0, "early_size": (0.1, 0.0, 0.0), "log_mass": (10.0, 0.0), "warp": (-20, 0)}
    pairs = galaxies(9, 64, recipe=GalaxyRecipe(companions=1.0, **far, **small))
    alone = galaxies(9, 64, recipe=GalaxyRecipe(companions=0.0, **far, **small))
    extra = pairs - alone
    edges = np.stack([extra[:, :, -4:], extra[:, :, :4], extra[:, -4:, :].swapaxes(1, 2), extra[:, :4].swapaxes(1, 2)])
    light = edges.sum((2, 3))
    right, left, top, bottom = light
    near = np.maximum(np.abs(right - left), np.abs(top - bottom))
    assert near.max() > 1  # companions do reach the edges
    for this, opposite in ((right, left), (left, right), (top, bottom), (bottom, top)):
        strong = this > 0.25 * light.sum(0)
        assert strong.sum() > 3
        assert (opposite[strong] < 0.1 * this[strong]).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"seed": -1, "n": 1}, "seed"),
        ({"seed": 0, "n": -1}, "n and first"),
        ({"seed": 0, "n": 1, "npix": 4}, "8 pixels"),
        ({"seed": 0, "n": 1, "recipe": GalaxyRecipe(early=0.9, irregular=0.2)}, "shares"),
    ],
)
def test_bad_input(arguments, says):
    with pytest.raises(BlindlensError, match=says):
        galaxies(**arguments)
