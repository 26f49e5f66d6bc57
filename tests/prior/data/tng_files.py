"""Tiny files in the formats of SKIRT-TNG, and an analytic galaxy to put into them."""

from pathlib import Path

import numpy as np
from astropy.io import fits

BANDS = ("CFHT_MEGACAM.U", "SUBARU_HSC.G", "SUBARU_HSC.I", "SUBARU_HSC.Y")


def gaussian(shape, width, x=0.0, y=0.0, fine=4):
    """Pixel means of exp(-r^2 / 2 width^2), lengths in pixels from the image's centre + (x, y)."""
    rows, columns = ((np.arange(size * fine) + 0.5) / fine - size / 2 for size in shape)
    light = np.exp(-((rows[:, None] - y) ** 2 + (columns[None] - x) ** 2) / (2 * width**2))
    return light.reshape(shape[0], fine, shape[1], fine).mean((1, 3))


def idealized(path: Path, flux, kpc=0.1, unit="AB mag/arcsec^2", band="SUBARU_HSC.I", data=None):
    """A SKIRT-TNG idealized file: `flux` (uJy/arcsec^2) in `band` as magnitudes, 99 where 0; nonsense in the others."""
    with np.errstate(divide="ignore"):
        mu = np.where(flux > 0, -2.5 * np.log10(flux / 3.631e9), 99.0).astype(np.float32)
    hdus = []
    for i, name in enumerate(BANDS):
        values = (mu if data is None else data) if name == band else np.full_like(mu, 20.0)
        hdu = (fits.ImageHDU if i else fits.PrimaryHDU)(values)
        cards = {"EXTNAME": name, "SIMTAG": "TNG50-1", "CDELT1": kpc, "BUNIT": unit, "FILTER": name, "SUBHALO": 7}
        hdu.header.update(cards)
        hdus.append(hdu)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path)
    return path


def realistic(path: Path, nanomaggies, pc=300.0):
    """A SKIRT-TNG realistic file: an image with MASK, VARIANCE and PSF per band."""
    hdus = [fits.PrimaryHDU()]
    for band in ("SUBARU_HSC.G", "SUBARU_HSC.I"):
        for plane in ("", " MASK", " VARIANCE", " PSF"):
            scale = 1.0 if band + plane == "SUBARU_HSC.I" else -7.0
            hdu = fits.ImageHDU((scale * nanomaggies).astype(np.float32), name=band + plane)
            hdu.header.update({"CDELT1": pc, "BUNIT": "nanomaggies"})
            hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path
