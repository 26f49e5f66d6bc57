"""An image of a lens with its noise, PSF and mask, cleaned once so that nothing downstream meets a bad pixel."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from astropy.io import fits

from .errors import BlindlensError
from .fits_input import KINDS, pixel_scale_of, read_plane
from .noise_map import noise_from_background, remark, standard_deviation
from .psf import clean_psf, detector_psf
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
        given = np.ones(image.shape, bool) if self.mask is None else np.nan_to_num(_native(self.mask, "mask")) != 0
        for array, what in ((noise, "noise map"), (given, "mask")):
            if array.shape != image.shape:
                raise BlindlensError(
                    f"the {what} has shape {array.shape} but the image {image.shape}; give matching ones"
                )
        if not (np.isfinite(self.pixel_scale) and self.pixel_scale > 0):
            raise BlindlensError(f"the pixel scale must be a positive number of arcsec, not {self.pixel_scale}")
        if not np.isfinite(image).any():
            raise BlindlensError("no pixel of the image is finite; check that the right extension was given")
        psf, psf_notes = clean_psf(_native(self.psf, "PSF"), image.shape)
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
            ("notes", tuple(dict.fromkeys((*self.notes, *notes)))),
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
        return Observation(
            image=self.image[part],
            noise=self.noise[part],
            psf=self.psf,
            mask=self.mask[part],
            pixel_scale=self.pixel_scale,
            name=self.name,
            header=self._moved(border[0], border[1]),
            notes=self.notes,
        )

    def centred_on(self, x: float, y: float, size: float | None = None) -> "Observation":
        """The part of the image about a pixel, which becomes its centre to within a quarter of a pixel.

        x, y: column and row as FITS and DS9 count them, the first pixel's centre at (1, 1). size: side in arcsec,
        filled up with masked pixels where the image ends; by default as far as the nearest border. BlindlensError for a
        pixel outside the image or a size below three pixels.
        """
        ny, nx = self.shape
        if not (0.5 <= x <= nx + 0.5 and 0.5 <= y <= ny + 0.5):
            raise BlindlensError(
                f"the centre ({x:g}, {y:g}) lies outside the image of {nx} x {ny} pixels; count them from 1, x first"
            )
        if size is not None and not 0 < size < 1e6 * self.pixel_scale:
            raise BlindlensError(f"the size must be a positive number of arcsec that fits in memory, not {size}")
        spans = []
        for centre, n in ((y, ny), (x, nx)):
            ends = int(np.rint(2 * (centre - 1)))  # first + last pixel of the part: a whole number has a parity
            side = min(ends, 2 * (n - 1) - ends) + 1 if size is None else int(np.rint(size / self.pixel_scale))
            side += (side + ends + 1) % 2
            if side < 3:
                raise BlindlensError(f"only {side} pixels are left about ({x:g}, {y:g}); give a larger size in arcsec")
            spans.append(((ends - side + 1) // 2, side))

        def part(array: np.ndarray, empty: float) -> np.ndarray:
            made = np.full([side for _, side in spans], empty, array.dtype)
            have = [slice(max(0, a), min(n, a + k)) for (a, k), n in zip(spans, array.shape, strict=True)]
            into = [slice(h.start - a, h.stop - a) for h, (a, _) in zip(have, spans, strict=True)]
            made[tuple(into)] = array[tuple(have)]
            return made

        sides = " x ".join(str(k) for _, k in reversed(spans))
        return replace(
            self,
            image=part(self.image, 0.0),
            noise=part(self.noise, 1.0),
            mask=part(self.mask, False),
            header=self._moved(spans[0][0], spans[1][0]),
            notes=(*self.notes, f"the {sides} pixels about pixel ({x:g}, {y:g}) are used"),
        )

    def _moved(self, rows: int, columns: int) -> dict:
        """The header of an image that begins at this row and column."""
        moved = {"CRPIX1": columns, "CRPIX2": rows}
        return {k: v - moved[k] if k in moved else v for k, v in self.header.items()}  # type: ignore[operator]

    @staticmethod
    def from_fits(
        image: str | Path,
        noise: str | Path | None = None,
        psf: str | Path | None = None,
        mask: str | Path | None = None,
        pixel_scale: float | None = None,
        *,
        background_rms: float | None = None,
        exposure: float | None = None,
        gain: float | None = None,
        psf_oversampling: int = 1,
    ) -> "Observation":
        """Read one multi-extension FITS file (SCI or DATA; NOISE, RMS or ERR; PSF; MASK) or separate files.

        The pixel scale (arcsec) comes from the WCS, then PIXSCALE or PIXSCAX, then the argument; an argument that
        disagrees with the header wins and is noted. A mask is non-zero where the pixel is used. A noise extension named
        VAR or VARIANCE holds variances, one named IVAR, IVM, WHT or WEIGHT inverse variances. In place of a noise map:
        background_rms, with exposure and gain (see `noise_from_background`). psf_oversampling: how many times finer the
        PSF is sampled (see `detector_psf`). BlindlensError says what is missing or unreadable and which argument mends
        it.
        """
        science = read_plane(image, "image")
        assert science is not None
        if noise is not None and background_rms is not None:
            raise BlindlensError("give the noise either as a map (--noise) or by --background-rms, not both")
        if background_rms is None and (exposure, gain) != (None, None):
            raise BlindlensError("--exposure and --gain go with --background-rms, the noise of the empty sky; give it")

        def other(role: str, path: str | Path | None):
            return read_plane(image if path is None else path, role, alone=path is not None)

        kernel, given = other("psf", psf), other("mask", mask)
        data = _native(science.data, "image")
        found = other("noise", noise) if background_rms is None else None
        notes = tuple(
            f"of {plane.rivals + 1} images in {path} the first was read as the {role}"
            for plane, path, role in ((science, image, "image"), (found, noise, "noise"), (kernel, psf, "PSF"))
            if plane is not None and plane.rivals
        )
        if background_rms is not None:
            sigma = noise_from_background(data, background_rms, exposure, gain)
        elif found is None:
            raise BlindlensError(
                f"{image} has no noise: give --noise FILE (a map of 1 sigma per pixel), or --background-rms with "
                "--exposure and --gain"
            )
        else:
            kind = KINDS.get(found.name, "sigma")
            sigma = standard_deviation(_native(found.data, "noise map"), kind)
            if kind != "sigma":
                notes += (f"extension {found.name} was read as the {kind} of each pixel",)
        if kernel is None:
            raise BlindlensError(f"{image} has no PSF extension; give --psf FILE")
        scale, scale_notes = pixel_scale_of(science.header, pixel_scale, image)
        read = Observation(
            image=data,
            noise=sigma,
            psf=detector_psf(_native(kernel.data, "PSF"), psf_oversampling),
            mask=None if given is None else given.data,  # type: ignore[arg-type]
            pixel_scale=scale,
            name=Path(image).name.split(".")[0],
            header=science.wcs_cards(),
            notes=(*scale_notes, *notes),
        )
        strange = remark(read.image, read.noise, read.mask)
        return read if strange is None else replace(read, notes=(*read.notes, strange))

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
