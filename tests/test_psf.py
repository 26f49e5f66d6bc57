"""Kernels at any sampling."""

import numpy as np
import pytest
import scipy.signal
from scipy.special import erf

from blindlens.errors import BlindlensError
from blindlens.psf import clean_psf, detector_psf

WIDTH = 1.1
SHAPE = (60, 60)


def integrated(n: int, pixel: float, centre: float) -> np.ndarray:
    """A round Gaussian of WIDTH detector pixels, integrated over n x n pixels of this size; exact."""
    edges = (np.arange(n + 1) - 0.5 - centre) * pixel / WIDTH / np.sqrt(2)
    side = np.diff(erf(edges)) / 2
    return np.outer(side, side)


@pytest.mark.parametrize(
    ("k", "n", "centre"),
    [(3, 45, 22), (5, 75, 37), (3, 44, 21.5), (4, 60, 29.5), (4, 61, 30), (4, 60, 30), (2, 30, 14.5), (3, 46, 22)],
)
def test_finer_kernels_blur_as_the_detector_sees(k, n, centre):
    kernel = detector_psf(integrated(n, 1 / k, centre), k)
    assert all(side % 2 for side in kernel.shape) and kernel.sum() == pytest.approx(1, abs=2e-3)
    # an arc on 9 x 9 rays a pixel, blurred there and then averaged over pixels, against pixels blurred with the kernel
    f, side = 9, 31
    x, y = np.meshgrid(*2 * [(np.arange(f * side) - (f * side - 1) / 2) / f])
    arc = np.exp(-((np.hypot(x - 0.3, y + 0.2) - 8) ** 2) / 2)
    seen = pixels(scipy.signal.fftconvolve(arc, integrated(15 * f, 1 / f, (15 * f - 1) / 2), mode="same"), f)
    error = abs(scipy.signal.fftconvolve(pixels(arc, f), kernel, mode="same") - seen)[6:-6, 6:-6].max()
    summed = integrated(15, 1.0, 7)  # what counts the pixel twice
    twice = abs(scipy.signal.fftconvolve(pixels(arc, f), summed, mode="same") - seen)[6:-6, 6:-6].max()
    assert error < 0.005 * seen.max() and twice > 0.01 * seen.max()


def pixels(fine: np.ndarray, f: int) -> np.ndarray:
    """Means over f x f."""
    n = len(fine) // f
    return fine.reshape(n, f, n, f).mean((1, 3))


def test_oversampling_that_cannot_be():
    with pytest.raises(BlindlensError, match="whole number"):
        detector_psf(np.ones((9, 9)), 0)
    with pytest.raises(BlindlensError, match="sampled 4 times finer"):
        detector_psf(np.ones((3, 9)), 4)
    assert detector_psf(np.ones((9, 8)), 1).shape == (9, 8)


def test_kernels_beyond_the_image_are_cut():
    wide = integrated(401, 1.0, 200) + 1e-7
    psf, notes = clean_psf(wide, (30, 41))
    assert psf.shape == (59, 81) and psf.sum() == pytest.approx(1, abs=1e-12)
    assert "was cut off" in notes[-1]
    np.testing.assert_allclose(psf[29, 40], wide[200, 200] / wide[171:230, 160:241].sum())
    with pytest.raises(BlindlensError, match="no light in its middle"):
        clean_psf(np.pad(np.zeros((99, 99)), ((0, 2), (0, 2)), constant_values=1.0), (10, 10))


def test_negative_wings():
    ringing = integrated(21, 1.0, 10) - 0.0002
    psf, notes = clean_psf(ringing / ringing.sum(), SHAPE)
    assert psf.min() < 0 and notes == []
    with pytest.raises(BlindlensError, match="negative pixels hold .*% of its light: subtract its background"):
        clean_psf(integrated(21, 1.0, 10) - 0.001, SHAPE)


def test_kernels_off_their_middle_are_noted():
    assert "(+2.0, +0.0) pixels" in clean_psf(np.roll(integrated(21, 1.0, 10), 2, 1), SHAPE)[1][0]
    assert clean_psf(integrated(21, 1.0, 10.3), SHAPE)[1] == []
