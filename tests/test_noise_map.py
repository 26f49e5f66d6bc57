"""Noise from background and exposure: against the noise that simulated photons have."""

import numpy as np
import pytest
import scipy.ndimage

from blindlens.errors import BlindlensError
from blindlens.noise_map import noise_from_background, remark, standard_deviation


def sky(n: int = 200) -> np.ndarray:
    """Counts per second of a peaked galaxy and a ring on nothing, PSF of 1 pixel."""
    y, x = np.indices((n, n)) - (n - 1) / 2
    r = np.hypot(x, y)
    light = 3 * np.exp(-r / 4) + 0.05 * np.exp(-((r - 40) ** 2) / 8)
    return scipy.ndimage.gaussian_filter(light, 1.0)


@pytest.mark.parametrize(("exposure", "gain"), [(1000.0, None), (1000.0, 2.5), (None, 400.0)])
def test_against_photons(exposure, gain):
    rng = np.random.default_rng(1)
    electrons, rms, truth = (exposure or 1) * (gain or 1), 0.01, sky()
    exact = np.sqrt(rms**2 + truth / electrons)
    image = rng.poisson(truth * electrons) / electrons + rms * rng.normal(size=truth.shape)
    noise = noise_from_background(image, rms, exposure, gain)
    assert np.quantile(noise / exact, [0.001, 0.999]) == pytest.approx(1, abs=0.2)
    assert np.median(noise / exact) == pytest.approx(1, abs=0.01)
    assert abs(np.mean((image - truth) ** 2 / noise**2) - 1) < 0.03
    # a fit's amplitude: with the pixel's own light for its variance one electron per pixel is lost, with ours a tenth
    own = np.sqrt(rms**2 + np.maximum(image, 0) / electrons)
    lost = [np.sum((image - truth) / s**2) / np.sum(1 / s**2) * electrons for s in (noise, own, exact)]
    assert abs(lost[0]) < 0.25 and lost[1] < -0.35 and abs(lost[2]) < 0.15


def test_background_alone_and_missing_pixels():
    image = sky(40)
    np.testing.assert_array_equal(noise_from_background(image, 0.3), np.full(image.shape, 0.3))
    image[:5] = np.nan
    assert np.isfinite(noise_from_background(image, 0.3, 100)).all()
    for arguments in ((0,), (-1,), (np.nan,), (1, 0), (1, 5, -2)):
        with pytest.raises(BlindlensError, match="must be a positive number"):
            noise_from_background(image, *arguments)


def test_kinds_of_maps():
    sigma = np.array([[0.5, 2.0, 0.0], [1.0, 3.0, np.nan]])
    with np.errstate(divide="ignore"):
        maps = {"sigma": sigma, "variance": sigma**2, "inverse variance": np.where(sigma > 0, 1 / sigma**2, 0)}
    for kind, values in maps.items():
        made = standard_deviation(values, kind)
        np.testing.assert_allclose(made[sigma > 0], sigma[sigma > 0])
        assert not (made[~(sigma > 0)] > 0).any()


def test_maps_that_hold_something_else_are_remarked():
    rng = np.random.default_rng(0)
    image, used = sky() + 0.01 * rng.normal(size=(200, 200)), np.ones((200, 200), bool)
    sigma = np.full(image.shape, 0.01)
    assert remark(image, sigma, used) is None
    correlated = sky() + 2 * np.sqrt(np.pi) * scipy.ndimage.gaussian_filter(image - sky(), 1.0)
    assert remark(correlated, sigma, used) is None  # as drizzling does
    for wrong in (sigma**2, 1 / sigma**2, 0 * sigma + 1000):
        assert "standard deviation" in str(remark(image, wrong, used))
    assert remark(np.zeros((200, 200)), sigma, used) is None
