"""Crop and block average against integrals that are known."""

import numpy as np
import pytest
from scipy.special import erf

from blindlens.errors import BlindlensError
from blindlens.prior.data.stamps import stamp


def cells(size, side, n, width):
    """Exact cell means of exp(-x^2 / 2 width^2) over n cells of a centred interval, x in pixels."""
    edges = np.linspace(-side / 2, side / 2, n + 1)
    return np.sqrt(np.pi / 2) * width * np.diff(erf(edges / np.sqrt(2) / width)) / (side / n)


def pixels(size, width):
    return cells(size, size, size, width)


@pytest.mark.parametrize("size,side,n", [(96, 64, 16), (96, 64.0, 32), (97, 65, 13), (80, 80, 8), (64, 96, 24)])
def test_whole_blocks_are_exact(size, side, n):
    """Blocks whose edges are pixel edges: the stamp is the integral itself, and outside the image there is nothing."""
    image = np.outer(pixels(size, 9.0), pixels(size, 9.0))
    expected = cells(size, side, n, 9.0)
    inside = np.abs(np.linspace(-side / 2, side / 2, n + 1)) <= size / 2
    expected = np.where(inside[1:] & inside[:-1], expected, 0)
    np.testing.assert_allclose(stamp(image, side, n, "x"), np.outer(expected, expected), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("size,side,n", [(96, 70.3, 16), (101, 64.0, 20), (50, 75.5, 24)])
def test_shared_pixels_keep_the_flux(size, side, n):
    image = np.outer(pixels(size, 5.0), pixels(size, 5.0))
    result = stamp(image, side, n, "x")
    assert result.sum(dtype=float) * (side / n) ** 2 == pytest.approx(2 * np.pi * 25, rel=1e-4)
    assert result.sum(dtype=float) * (side / n) ** 2 != pytest.approx(result.sum(dtype=float), rel=0.1)
    np.testing.assert_allclose(result, result[::-1, ::-1], atol=1e-6)  # centred whatever the parities


def test_rows_and_columns_keep_their_places():
    image = np.zeros((40, 60))
    image[2, 30] = 1
    result = stamp(image, 40, 10, "x")
    assert np.unravel_index(result.argmax(), result.shape) == (0, 5)


def test_refusals():
    with pytest.raises(BlindlensError, match="a.fits: the field is only 30 pixels wide; ask for n <= 30"):
        stamp(np.ones((64, 64)), 30, 32, "a.fits")
    with pytest.raises(BlindlensError, match="a.fits has pixels that are not finite"):
        stamp(np.full((64, 64), np.nan), 64, 32, "a.fits")
    bad_outside = np.ones((64, 64))
    bad_outside[0, 0] = np.nan
    assert stamp(bad_outside, 32, 16, "a.fits") == pytest.approx(1)
