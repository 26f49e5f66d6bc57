"""Neighbours of a lens: found where they are, arcs left alone, nothing found in noise."""

import numpy as np
import pytest
import scipy.signal

from blindlens.contaminants import find_contaminants, protected_radius, without_contaminants
from blindlens.errors import BlindlensError
from blindlens.lens.mass import LensModel
from blindlens.observation import Observation

N, SCALE, RMS, SECONDS = 161, 0.06, 0.004, 2000.0


def disc_psf() -> np.ndarray:
    y, x = np.indices((15, 15)) - 7
    kernel = np.exp(-(x**2 + y**2) / 2) + 0.03 * np.exp(-np.hypot(x, y) / 3)
    return kernel / kernel.sum()


PSF = disc_psf()
X, Y = Observation(np.ones((N, N)), np.ones((N, N)), PSF, pixel_scale=SCALE).coordinates()
R = np.hypot(X, Y)


def galaxy(x, y, size, index, q, phi) -> np.ndarray:
    """A Sersic profile of total 1, seen through the PSF."""
    dx, dy = X - x, Y - y
    along, across = dx * np.cos(phi) + dy * np.sin(phi), dy * np.cos(phi) - dx * np.sin(phi)
    radius = np.hypot(np.hypot(along * np.sqrt(q), across / np.sqrt(q)), 0.02)
    light = np.exp(-(2 * index - 1 / 3) * ((radius / size) ** (1 / index) - 1))
    return scipy.signal.fftconvolve(light / light.sum(), PSF, mode="same")


def arcs(radius: float = 1.8) -> np.ndarray:
    """A long arc and a short one opposite, of 0.1 arcsec and a peak of 25 times the background's noise."""
    angle = np.arctan2(Y, X)
    ring = np.exp(-((R - radius) ** 2) / 2 / 0.1**2) * np.exp(-(angle**2) / 0.6)
    other = np.exp(-((R - 0.6 * radius) ** 2) / 2 / 0.08**2) * np.exp(-((np.abs(angle) - np.pi) ** 2) / 0.1)
    return 25 * RMS * (ring + 0.7 * other)


def seen(light: np.ndarray, seed: int) -> Observation:
    noise = np.sqrt(RMS**2 + light / SECONDS)
    image = light + noise * np.random.default_rng(seed).normal(size=light.shape)
    return Observation(image, noise, PSF, pixel_scale=SCALE)


def lens_light(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = rng.uniform(0.8, 2), rng.uniform(2.5, 5), rng.uniform(0.6, 1), rng.uniform(0, np.pi)
    return 10 ** rng.uniform(2, 3) * galaxy(*rng.normal(0, 0.05, 2), *shape)


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_covered_and_arcs_are_not(seed):
    rng = np.random.default_rng(100 + seed)
    angle = rng.uniform(0, 2 * np.pi)
    places = [(r * np.cos(a), r * np.sin(a)) for r, a in ((3.3, angle), (4.2, angle + 2))]
    star = galaxy(*places[0], 0.01, 1, 1, 0) * 60 * RMS / PSF.max()
    other = galaxy(*places[1], 0.25, 1, 0.6, 1.0)
    other *= 15 * RMS / other.max()
    base = lens_light(seed) + arcs()
    observation = seen(base + star + other, seed)
    found = find_contaminants(observation)
    assert len(found.masked) == 2 and found.doubtful == () and not found.brighter
    for x, y in places:
        assert min(np.hypot(one.x - x, one.y - y) for one in found.masked) < 0.15
    assert not found.mask[R <= 2.8].any() and found.mask.mean() < 0.12
    assert found.masked[0].peak > found.masked[1].peak > 10
    left = ((star + other) / observation.noise)[(R > 2.8) & ~found.mask]
    assert left.max() < 1 and np.sum(left**2) < 40 < 0.02 * np.sum(((star + other) / observation.noise) ** 2)
    # without them nothing is found
    assert find_contaminants(seen(base, seed)).masked == ()


def test_noise_alone_holds_nothing():
    for seed in range(3):
        found = find_contaminants(seen(np.zeros((N, N)), seed))
        assert not found.mask.any() and found.doubtful == ()


def test_correlated_noise_holds_nothing():
    white = np.random.default_rng(0).normal(size=(N, N))
    drizzled = RMS * scipy.signal.fftconvolve(white, np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]) / 1.5, mode="same")
    assert find_contaminants(Observation(drizzled, np.full((N, N), RMS), PSF, pixel_scale=SCALE)).masked == ()


def test_within_the_radius_sources_are_named_only():
    star = galaxy(1.3, 2.0, 0.01, 1, 1, 0) * 60 * RMS / PSF.max()
    observation = seen(lens_light(1) + arcs(1.0) + star, 1)
    found = find_contaminants(observation)
    assert not found.mask.any() and len(found.doubtful) == 1
    assert np.hypot(found.doubtful[0].x - 1.3, found.doubtful[0].y - 2.0) < 0.1
    kept = without_contaminants(observation)
    assert kept.n_used == observation.n_used and "give --mask FILE" in kept.notes[-1]
    # an arc at that place is the source's if the others lie as far out
    assert find_contaminants(seen(lens_light(1) + arcs(2.0) + star, 1)).doubtful == ()


def test_touching_sources_are_parted_at_the_radius():
    arc = arcs(2.4)
    star = galaxy(3.1, 0.3, 0.01, 1, 1, 0) * 80 * RMS / PSF.max()
    found = find_contaminants(seen(lens_light(2) + arc + star, 2))
    (one,) = found.masked
    assert np.hypot(one.x - 3.1, one.y - 0.3) < 0.1 and not found.mask[R <= 2.8].any()


def test_mask_notes_and_bad_pixels():
    star = galaxy(-3.5, 1.0, 0.01, 1, 1, 0) * 60 * RMS / PSF.max()
    good = seen(arcs() + star, 3)
    noise, image = good.noise.copy(), good.image.copy()
    noise[60:64], image[:, :6] = 1e16, np.nan
    observation = Observation(image, noise, PSF, pixel_scale=SCALE)
    cleaned = without_contaminants(observation)
    assert 0 < observation.n_used - cleaned.n_used < 700 and (cleaned.mask <= observation.mask).all()
    assert "1 neighbour beyond 2.8 arcsec" in cleaned.notes[-2] and "(-3.48, +1.02)" in cleaned.notes[-2]
    assert "give --centre X Y" in cleaned.notes[-1]  # nothing within is as bright
    with pytest.raises(BlindlensError, match="radius must be a positive"):
        without_contaminants(observation, 0)


def test_small_and_empty_images():
    for shape in ((9, 14), (40, 25)):
        image = np.random.default_rng(0).normal(size=shape)
        assert not find_contaminants(Observation(image, np.ones(shape), PSF, pixel_scale=0.2)).mask.any()


def test_radius_follows_the_prior():
    assert protected_radius(LensModel()) == pytest.approx(2.8, abs=0.01)
    wide = LensModel(("sie",), {"Rein": (1.0, 5.0), "xs": (-1.0, 0.2), "ys": (-0.1, 0.1)})
    assert protected_radius(wide) == pytest.approx(5.0 + np.hypot(1, 0.1) + 0.1, abs=0.01)
