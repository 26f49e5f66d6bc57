"""Point-spread functions as people have them, made into kernels of odd sides and unit sum at detector sampling."""

import numpy as np
import scipy.ndimage

from .errors import BlindlensError

NEGATIVE = 0.1
"""A kernel whose negative pixels hold more than this share of its light is background, not PSF."""


def clean_psf(psf: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """(kernel, notes): unit sum, odd sides, the light's centre in the middle pixel of even-sized ones.

    What lies further from the middle than an image of `shape` pixels is long cannot matter and is cut off. Raises
    BlindlensError for kernels without light, that are not finite, or that are negative in good part.
    """
    if psf.ndim != 2 or not np.isfinite(psf).all() or not psf.sum() > 0:
        raise BlindlensError("the PSF must be a two-dimensional image of finite numbers with a positive sum")
    negative = -psf[psf < 0].sum() / np.abs(psf).sum()
    if negative > NEGATIVE:
        raise BlindlensError(
            f"the PSF's negative pixels hold {negative:.0%} of its light: subtract its background, or cut it smaller"
        )
    notes, total = [], psf.sum()
    if abs(total - 1) > 1e-5:
        notes.append(f"the PSF summed to {total:.6g} and was normalised")
    if abs(total - 1) > 1e-12:
        psf = psf / total
    if any(n % 2 == 0 for n in psf.shape):
        notes.append(f"the PSF's sides {psf.shape} were made odd, its centre kept in the middle")
        for axis in (0, 1):
            psf = _odd(psf, axis)
        psf = psf / psf.sum()
    cut = [max(0, k - (2 * n - 1)) // 2 for k, n in zip(psf.shape, shape, strict=True)]
    if any(cut):
        psf = psf[tuple(slice(c, k - c) for c, k in zip(cut, psf.shape, strict=True))]
        if not psf.sum() > 0:
            raise BlindlensError("the PSF has no light in its middle; check that it is centred in its image")
        if abs(lost := 1 - psf.sum()) > 1e-4:
            notes.append(f"{lost:.2%} of the PSF's light lies further out than the image is long and was cut off")
        psf = psf / psf.sum()
    # weighed by its square: the centre of the core, whatever the wings
    offset = [float(_centroid(psf**2, axis) - (psf.shape[axis] - 1) / 2) for axis in (1, 0)]
    if max(map(abs, offset)) > 0.5:
        notes.append(
            f"the PSF's core lies ({offset[0]:+.1f}, {offset[1]:+.1f}) pixels (x, y) off its middle: "
            "the model of the sky moves the other way"
        )
    return psf, notes


def detector_psf(psf: np.ndarray, oversampling: int) -> np.ndarray:
    """The kernel for the detector's pixels of one sampled `oversampling` times finer: its values one pixel apart.

    They are taken about the light's centre and not summed over the pixel: the operator's rays average the light over
    each pixel before it is blurred, and a sum would count the pixel's response twice, which widens the PSF by 1/12
    pixel^2 (1 to 2 % of the peak of a narrow arc; tests/test_psf.py). So the kernel should be without that response
    (Tiny Tim, STPSF). Where it holds it, as effective PSFs and stars on the detector do, the result is as wide as they.

    Raises BlindlensError for a factor below 1 and for kernels that are no image or smaller than one detector pixel.
    """
    if oversampling < 1:
        raise BlindlensError(f"the PSF's oversampling must be a whole number from 1 on, not {oversampling}")
    if oversampling == 1:
        return psf
    if psf.ndim != 2 or min(psf.shape) < oversampling or not np.isfinite(psf).all():
        raise BlindlensError(
            f"a PSF of shape {psf.shape} is no image of finite numbers sampled {oversampling} times finer than pixels"
        )
    for axis in (0, 1):
        psf = _odd(psf, axis)
    return psf[tuple(slice(n // 2 % oversampling, None, oversampling) for n in psf.shape)] * oversampling**2


def _centroid(weight: np.ndarray, axis: int) -> float:
    profile = weight.sum(1 - axis)
    return np.sum(profile * np.arange(len(profile))) / profile.sum()


def _middle(psf: np.ndarray, axis: int) -> float:
    """The coordinate on which a kernel is centred along one axis.

    Even ones are centred on pixel n/2 (the FFT's convention), n/2 - 1, or, between the two, on the border.
    """
    n = psf.shape[axis]
    if n % 2:
        return (n - 1) / 2
    centre = _centroid(np.clip(psf, 0, None), axis) - (n - 1) / 2
    return (n - 1) / 2 + (0.0 if abs(centre) <= 0.25 else np.copysign(0.5, centre))


def _odd(psf: np.ndarray, axis: int) -> np.ndarray:
    """Pad an even side by one pixel so that its centre falls on the middle pixel.

    A kernel centred on the border between two pixels is shifted by half a pixel with cubic splines.
    """
    n = psf.shape[axis]
    if n % 2:
        return psf
    offset = _middle(psf, axis) - (n - 1) / 2
    border = [(0, 0), (0, 0)]
    border[axis] = (0, 1) if offset > 0 else (1, 0)
    psf = np.pad(psf, border)
    if offset == 0:
        shift = [0.0, 0.0]
        shift[axis] = -0.5
        psf = scipy.ndimage.shift(psf, shift, order=3)
    return psf
