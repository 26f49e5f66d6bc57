"""An image of a lens with its noise, PSF and mask, cleaned once so that nothing downstream meets a bad pixel."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal
from astropy.io import fits

from .errors import BlindlensError
from .fits_input import Plane, pixel_scale_of, read_plane
from .storage import atomic_write

HOPELESS = 1e6
"""A pixel whose noise is this many times the typical noise weighs less than 1e-12 of it: it is masked."""


@dataclass(frozen=True)
class Observation:
    """One image and all that its likelihood needs; arrays are float64, row 0 at the bottom.

    image, noise: (ny, nx), surface brightness per pixel and its standard deviation. psf: (ky, kx), odd sides, sum 1.
    mask: (ny, nx) bool, True where the pixel is *used*. pixel_scale: arcsec. header: FITS cards worth keeping (WCS).
    notes: what was changed, in words. Construction normalises the PSF, re-centres even-sized kernels and masks pixels
    whose image or noise is not finite, whose noise is <= 0, or >= 1e6 times the typical noise; masked pixels hold
    image 0 and noise 1. Raises BlindlensError for shapes that disagree, an image without usable pixels, a PSF
    without light, and a pixel scale that is not positive.
    """

    image: np.ndarray
    noise: np.ndarray
    psf: np.ndarray
    mask: np.ndarray = None  # type: ignore[assignment]  # all pixels, set on construction
    pixel_scale: float = 0.0
    name: str = "lens"
    header: dict[str, str | float | int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        image, noise = (_native(a, what) for a, what in ((self.image, "image"), (self.noise, "noise map")))
        if image.ndim != 2:
            raise BlindlensError(f"the image must be two-dimensional, not of shape {image.shape}; extract one plane")
        given = np.ones(image.shape, bool) if self.mask is None else _native(self.mask, "mask") != 0
        for array, what in ((noise, "noise map"), (given, "mask")):
            if array.shape != image.shape:
                raise BlindlensError(
                    f"the {what} has shape {array.shape} but the image {image.shape}; give matching ones"
                )
        if not (np.isfinite(self.pixel_scale) and self.pixel_scale > 0):
            raise BlindlensError(f"the pixel scale must be a positive number of arcsec, not {self.pixel_scale}")
        if not np.isfinite(image).any():
            raise BlindlensError("no pixel of the image is finite; check that the right extension was given")
        psf, psf_notes = _clean_psf(_native(self.psf, "PSF"))
        good = np.isfinite(image) & np.isfinite(noise) & (noise > 0)
        if good.any():
            good &= noise < HOPELESS * np.quantile(noise[good], 0.1)
        mask = given & good
        if not mask.any():
            raise BlindlensError(
                "no pixel is left after masking; check the noise map and that the mask is 1 where used"
            )
        notes = list(psf_notes)
        if bad := int(np.sum(given & ~good)):
            notes.append(f"{bad} of {mask.size} pixels masked: not finite, or noise <= 0, or absurdly large")
        for key, value in (
            ("image", np.where(mask, image, 0.0)),
            ("noise", np.where(mask, noise, 1.0)),
            ("psf", psf),
            ("mask", mask),
            ("pixel_scale", float(self.pixel_scale)),
            ("notes", tuple(self.notes) + tuple(notes)),
        ):
            object.__setattr__(self, key, value)

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape  # type: ignore[return-value]

    @property
    def n_used(self) -> int:
        """Number of pixels that are not masked."""
        return int(self.mask.sum())

    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """x, y of the pixel centres in arcsec, (ny, nx) each, the grid's centre at (0, 0)."""
        rows, cols = ((np.arange(k) - (k - 1) / 2) * self.pixel_scale for k in self.shape)
        x, y = np.meshgrid(cols, rows)
        return x, y

    def binned(self, k: int) -> "Observation":
        """k x k times fewer pixels: the mean of the used ones, its noise, and the PSF on the coarse grid.

        The border is filled up with masked pixels so that the centre stays where it is; BlindlensError where that is
        impossible (an odd number of pixels and an even k).
        """
        if k < 1 or any(n % 2 and k % 2 == 0 for n in self.shape):
            raise BlindlensError(
                f"an image of {self.shape} pixels cannot be binned by {k} about its centre; use an odd k"
            )

        def blocks(array: np.ndarray) -> np.ndarray:
            ny, nx = (_padded(n, k) for n in array.shape)
            border = [((m - n) // 2,) * 2 for m, n in zip((ny, nx), array.shape, strict=True)]
            return np.pad(array, border).reshape(ny // k, k, nx // k, k).sum((1, 3))

        used = blocks(self.mask.astype(float))
        count = np.maximum(used, 1)
        triangle = np.convolve(np.ones(k), np.ones(k)) / k
        smooth = scipy.signal.convolve2d(self.psf, np.outer(triangle, triangle))
        psf = smooth[tuple(slice((n // 2) % k, None, k) for n in smooth.shape)]
        return Observation(
            image=blocks(self.image) / count,
            noise=np.sqrt(blocks(np.where(self.mask, self.noise, 0) ** 2)) / count,
            psf=psf,
            mask=used > 0,
            pixel_scale=self.pixel_scale * k,
            name=self.name,
            header=_binned_cards(self.header, k, [(_padded(n, k) - n) // 2 for n in self.shape]),
            notes=(*self.notes, f"binned {k} x {k}"),
        )

    def cropped(self, shape: tuple[int, int]) -> "Observation":
        """The central part of this shape, the centre kept; BlindlensError for shapes too large or of other parity."""
        if any(k > n or k < 1 or (n - k) % 2 for n, k in zip(self.shape, shape, strict=True)):
            raise BlindlensError(f"an image of {self.shape} pixels has no central part of {tuple(shape)} pixels")
        border = [(n - k) // 2 for n, k in zip(self.shape, shape, strict=True)]
        part = tuple(slice(b, b + k) for b, k in zip(border, shape, strict=True))
        moved = {"CRPIX1": border[1], "CRPIX2": border[0]}
        return Observation(
            image=self.image[part],
            noise=self.noise[part],
            psf=self.psf,
            mask=self.mask[part],
            pixel_scale=self.pixel_scale,
            name=self.name,
            header={k: v - moved[k] if k in moved else v for k, v in self.header.items()},  # type: ignore[operator]
            notes=self.notes,
        )

    @staticmethod
    def from_fits(
        image: str | Path,
        noise: str | Path | None = None,
        psf: str | Path | None = None,
        mask: str | Path | None = None,
        pixel_scale: float | None = None,
    ) -> "Observation":
        """Read one multi-extension FITS file (SCI or DATA; NOISE, RMS or ERR; PSF; MASK) or separate files.

        The pixel scale (arcsec) comes from the WCS, then PIXSCALE or PIXSCAX, then the argument; an argument that
        disagrees with the header wins and is noted. A mask is non-zero where the pixel is used. BlindlensError says
        what is missing or unreadable and which argument mends it.
        """
        science = read_plane(image, "image")
        assert science is not None
        parts: dict[str, Plane | None] = {}
        for role, path in (("noise", noise), ("psf", psf), ("mask", mask)):
            parts[role] = read_plane(image if path is None else path, role, alone=path is not None)
            if parts[role] is None and role != "mask":
                raise BlindlensError(f"{image} has no {role.upper()} extension; give --{role} FILE")
        scale, notes = pixel_scale_of(science.header, pixel_scale, image)
        return Observation(
            image=science.data,
            noise=parts["noise"].data,  # type: ignore[union-attr]
            psf=parts["psf"].data,  # type: ignore[union-attr]
            mask=None if parts["mask"] is None else parts["mask"].data,  # type: ignore[arg-type]
            pixel_scale=scale,
            name=Path(image).name.split(".")[0],
            header=science.wcs_cards(),
            notes=notes,
        )

    def to_fits(self, path: str | Path) -> None:
        """Write SCI, NOISE, PSF and MASK extensions, atomically; `from_fits` reads the same numbers back."""
        header = fits.Header()
        for key, value in self.header.items():
            header[key] = value
        header["PIXSCALE"] = (self.pixel_scale, "[arcsec]")
        hdus = fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.ImageHDU(self.image, header, name="SCI"),
                fits.ImageHDU(self.noise, name="NOISE"),
                fits.ImageHDU(self.psf, name="PSF"),
                fits.ImageHDU(self.mask.astype(np.uint8), name="MASK"),
            ]
        )
        with atomic_write(path) as temporary:
            hdus.writeto(temporary)


def _native(array: np.ndarray, what: str) -> np.ndarray:
    """float64 in native byte order; axes of length 1 beyond the second dropped."""
    try:
        array = np.asarray(array).astype(np.float64)
    except (TypeError, ValueError):
        raise BlindlensError(f"the {what} does not hold real numbers") from None
    while array.ndim > 2 and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    return array


def _binned_cards(cards: dict[str, Any], k: int, border: list[int]) -> dict[str, Any]:
    """WCS cards of an image with `border` (y, x) pixels added on each side and then binned k x k."""
    first = {"CRPIX1": border[1], "CRPIX2": border[0]}
    # what a CD matrix says goes before CDELT, and PC alone stands for steps of 1
    steps = next((s for s in (r"CD[12]_[12]", r"CDELT[12]") if any(re.fullmatch(s, c) for c in cards)), r"PC[12]_[12]")
    out = dict(cards)
    for card in cards:
        if card in first:
            out[card] = (cards[card] + first[card] - 0.5) / k + 0.5
        elif re.fullmatch(steps, card):
            out[card] = cards[card] * k
    return out


def _padded(n: int, k: int) -> int:
    """The least m >= n that is a multiple of k and of n's parity."""
    m = n
    while m % k or (m - n) % 2:
        m += 1
    return m


def _clean_psf(psf: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Odd sides, unit sum, and notes on what that took."""
    if psf.ndim != 2 or not np.isfinite(psf).all() or not psf.sum() > 0:
        raise BlindlensError("the PSF must be a two-dimensional image of finite numbers with a positive sum")
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
    return psf, notes


def _odd(psf: np.ndarray, axis: int) -> np.ndarray:
    """Pad an even side by one pixel so that the light's centre falls on the middle pixel.

    Even kernels are centred on pixel n/2 (the FFT's convention), n/2 - 1, or, between the two, on the border, where the
    kernel is shifted by half a pixel with cubic splines.
    """
    n = psf.shape[axis]
    if n % 2:
        return psf
    weight = np.clip(psf, 0, None).sum(1 - axis)
    centre = np.sum(weight * np.arange(n)) / weight.sum() - (n - 1) / 2
    before, after = (0, 1) if centre > 0.25 else (1, 0)
    border = [(0, 0), (0, 0)]
    border[axis] = (before, after)
    psf = np.pad(psf, border)
    if abs(centre) <= 0.25:
        shift = [0.0, 0.0]
        shift[axis] = -0.5
        psf = scipy.ndimage.shift(psf, shift, order=3)
    return psf
