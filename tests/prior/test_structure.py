"""Structure statistics on profiles whose values are known, and their response to what they are named after."""

import numpy as np
import pytest
from scipy.special import gammainc, gammaincinv

from blindlens.errors import BlindlensError
from blindlens.prior.structure import structure


def sersic(n, size, q=1.0, npix=64, fine=8, x=0.0, y=0.0):
    """Pixel means of a Sersic profile with half-light semi-major axis `size` pixels, centred on the stamp + (x, y)."""
    side = (np.arange(npix * fine) + 0.5) / fine - npix / 2
    r = np.hypot(side[None] - x, (side[:, None] - y) / q) / size
    light = np.exp(-gammaincinv(2 * n, 0.5) * r ** (1 / n))
    return light.reshape(npix, fine, npix, fine).mean((1, 3))[None]


def test_exponential_disc():
    """r_p = 2.16 half-light radii, and within 1.5 r_p 97.2 % of the light: r20, r50 and r80 are fractions of that."""
    s = structure(sersic(1.0, 6.0))
    b = gammaincinv(2, 0.5)
    counted = gammainc(2, b * 1.5 * 2.16)
    r20, r50, r80 = (6.0 * gammaincinv(2, f * counted) / b for f in (0.2, 0.5, 0.8))
    assert s["r50"][0] == pytest.approx(r50, rel=0.01)
    assert s["concentration"][0] == pytest.approx(5 * np.log10(r80 / r20), abs=0.03)
    assert s["asymmetry"][0] < 1e-12


def test_steeper_profiles_are_more_concentrated():
    values = np.array([structure(sersic(n, 5.0))["concentration"][0] for n in (0.5, 1.0, 2.0, 4.0)])
    assert (np.diff(values) > 0.2).all()


def test_sizes_scale_and_shape_does_not():
    small, large = structure(sersic(1.0, 4.0)), structure(sersic(1.0, 8.0))
    assert large["r50"][0] / small["r50"][0] == pytest.approx(2, rel=0.03)
    assert large["concentration"][0] == pytest.approx(small["concentration"][0], abs=0.1)
    assert large["gini"][0] == pytest.approx(small["gini"][0], abs=0.03)


def test_flux_and_orientation_do_not_matter():
    image = sersic(1.5, 5.0, q=0.6, x=2.5, y=-1.5)
    image[0, 34, 28] += image.max()
    plain = structure(image)
    assert plain["asymmetry"][0] > 0.01
    for other in (1e3 * image, image[:, ::-1], image.swapaxes(1, 2)):
        for name, value in structure(other).items():
            np.testing.assert_allclose(value, plain[name], rtol=1e-9, err_msg=name)


def test_centre_is_found():
    shifted = structure(sersic(1.0, 5.0, x=3.0, y=-2.5))
    assert shifted["asymmetry"][0] < 1e-12
    assert shifted["r50"][0] == pytest.approx(structure(sersic(1.0, 5.0))["r50"][0], rel=0.01)


def test_asymmetry_of_a_second_peak_is_its_share():
    """A spot with share f of the light and nothing opposite gives A = f (two differences, halved)."""
    image = sersic(1.0, 5.0)
    share = 0.1
    image /= image.sum()
    image[0, 36, 40] += share / (1 - share)
    assert structure(image)["asymmetry"][0] == pytest.approx(share, rel=0.05)
    image[0, 63 - 36, 63 - 40] += share / (1 - share)  # control: with its opposite there is none
    assert structure(image)["asymmetry"][0] < 0.01


def test_gini_orders_flat_and_peaked():
    y, x = np.mgrid[:64, :64] - 31.5
    flat = (np.hypot(x, y) < 10).astype(float)[None]
    assert structure(flat)["gini"][0] < 0.25 < 0.5 < structure(sersic(4.0, 6.0))["gini"][0]


def test_smoothness_counts_clumps():
    rng = np.random.default_rng(0)
    disc = sersic(1.0, 8.0)
    clumpy = disc * np.exp(0.4 * rng.normal(size=disc.shape))
    assert structure(disc)["smoothness"][0] < 0.06
    assert 0.2 < structure(clumpy)["smoothness"][0] < 0.5


def test_stack_equals_one_by_one():
    stack = np.concatenate([sersic(n, r, q) for n, r, q in [(1, 4, 1), (2, 6, 0.5), (3, 5, 0.8)] * 15])
    together = structure(stack)
    alone = [structure(image[None]) for image in stack]
    for name, values in together.items():
        np.testing.assert_allclose(values, [a[name][0] for a in alone], rtol=1e-12)


@pytest.mark.parametrize(
    ("images", "says"),
    [(np.ones((64, 64)), "stack"), (np.full((1, 64, 64), np.nan), "finite"), (-np.ones((1, 64, 64)), "positive")],
)
def test_bad_input(images, says):
    with pytest.raises(BlindlensError, match=says):
        structure(images)


def test_empty_stack():
    assert structure(np.zeros((0, 64, 64)))["r50"].shape == (0,)


def test_a_source_at_the_corner_is_measured():
    """The search for the centre of least asymmetry must not leave the image, nor come in again at the other side."""
    n = 24
    images = np.zeros((3, n, n))
    images[0, -2:, -2:] = images[1, :2, :2] = 5.0
    images[2, -1, 0] = 5.0
    measured = structure(images + 0.01 * np.random.default_rng(0).random(images.shape))
    assert np.isfinite(measured["asymmetry"]).all() and (measured["asymmetry"] < 0.4).all()
