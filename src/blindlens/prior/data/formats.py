"""One file, one image: SKIRT-TNG idealized and realistic, other FITS files, and pictures."""

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits

from ...errors import BlindlensError
from ...fits_input import READ_ERRORS, read_plane
from .stamps import central

IDEALIZED = re.compile(r"shalo_(?P<snapshot>\d+)-(?P<subhalo>\d+)_(?P<camera>\w+?)_photo\.fits")
REALISTIC = re.compile(r"shalo_(?P<snapshot>\d+)-(?P<subhalo>\d+)_(?P<camera>\w+?)_HSC_GRIZY\.fits")
FITS = (".fits", ".fit", ".fits.gz")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FLUX = "uJy/arcsec^2"
AB = 3.631e9  # uJy at magnitude 0
EMPTY = 90.0  # mag/arcsec^2 and above: SKIRT-TNG writes 99 where there is no light
NANOMAGGY = 3.631  # uJy
HSC_PIXEL = 0.168  # arcsec
KPC = 10.0  # no galaxy is imaged with pixels of 10 kpc, nor with pixels of under 10 pc: larger numbers are in pc


class Frame(NamedTuple):
    """An image (h, w), row 0 at the bottom, at least its central `field` kpc; kpc per pixel, None if unknown."""

    data: np.ndarray
    kpc: float | None
    unit: str


def read_idealized(path: Path, band: str, field: float) -> Frame:
    """SKIRT-TNG without noise and sky: AB mag/arcsec^2, 99 where empty; any size."""
    data, header = _extension(path, band, field)
    _expect(path, header, "mag/arcsec")
    return Frame(flux(data), _kpc(path, header), FLUX)


def read_realistic(path: Path, band: str, field: float) -> Frame:
    """SKIRT-TNG as HSC would see it, in nanomaggies a pixel of 0.168 arcsec.

    Noise, PSF and neighbours are in it, and a prior learns them: MASK flags every detected object, the galaxy too, and
    so cannot take them out.
    """
    data, header = _extension(path, band, field)
    _expect(path, header, "nanomagg")
    return Frame(data * (NANOMAGGY / HSC_PIXEL**2), _kpc(path, header), FLUX)


def read_fits(path: Path, band: str, field: float) -> Frame:
    """Any FITS image: the unit from BUNIT, AB mag/arcsec^2 brought to uJy/arcsec^2; kpc if CTYPE or CUNIT say so."""
    plane = read_plane(path, "image")
    assert plane is not None  # without one, read_plane raises
    data, header = np.atleast_2d(np.squeeze(plane.data)), plane.header
    if "SUBHALO" in header:  # read_plane would take the first band, whichever that is
        raise BlindlensError(
            f"{path} is a SKIRT-TNG file: name it as it came, shalo_SNAPSHOT-SUBHALO_CAMERA_photo.fits"
        )
    said = str(header.get("BUNIT", "")).strip()
    physical = {str(header.get(card, "")).strip().lower() for card in ("CTYPE1", "CUNIT1")}
    kpc = 1e-3 if "pc" in physical else 1.0 if "kpc" in physical else None
    pixel = None if kpc is None else kpc * _number(path, header, "CDELT1")
    if re.sub(r"\s|\^|\*", "", said.lower()) in ("abmag/arcsec2", "mag/arcsec2"):
        return Frame(flux(data), pixel, FLUX)
    return Frame(data, pixel, FLUX if re.sub(r"\s|\^|\*", "", said) == "uJy/arcsec2" else said or "arbitrary")


def read_picture(path: Path, band: str, field: float) -> Frame:
    """PNG, JPEG or TIFF: the mean of the colours, as it is stored (a display's stretch, if any, stays in)."""
    try:
        from PIL import Image
    except ImportError:
        raise BlindlensError(f"reading {path} needs Pillow: pip install pillow") from None
    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "RGBA", "CMYK", "YCbCr", "LA"):
                picture = picture.convert("L" if picture.mode == "LA" else "RGB")
            data = np.asarray(picture, np.float64)
    except (*READ_ERRORS, SyntaxError) as error:
        raise BlindlensError(f"{path} is not a readable picture ({_line(error)}); download it again") from None
    return Frame((data.mean(2) if data.ndim == 3 else data)[::-1], None, "arbitrary")


def flux(magnitudes: np.ndarray) -> np.ndarray:
    """uJy/arcsec^2 of AB mag/arcsec^2; 0 where empty."""
    mu = magnitudes.astype(np.float64)
    return np.where(mu >= EMPTY, 0.0, AB * 10 ** (-0.4 * np.minimum(mu, EMPTY)))


def _extension(path: Path, band: str, field: float) -> tuple[np.ndarray, dict[str, Any]]:
    """The square image of the extension named `band`, cut to a little more than the field before it is read."""
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            with fits.open(path, memmap=True) as opened:
                hdus: list[Any] = list(opened)
                names = [hdu.name.upper() for hdu in hdus]
                if band.upper() not in names:
                    raise BlindlensError(f"{path} has no band {band}; it has {', '.join(filter(None, names))}")
                hdu = hdus[names.index(band.upper())]
                header = dict(hdus[0].header) | dict(hdu.header)
                shape = hdu.shape
                if len(shape) != 2 or shape[0] != shape[1]:
                    raise BlindlensError(f"{path} should hold a square image, not one of shape {shape}")
                data = np.array(central(hdu.data, np.ceil(field / _kpc(path, header)) + 2))
    except READ_ERRORS as error:
        if isinstance(error, BlindlensError):
            raise
        raise BlindlensError(f"{path} is not a readable FITS file ({_line(error)}); download it again") from None
    if any("truncated" in str(w.message) for w in complaints):
        raise BlindlensError(f"{path} is not a readable FITS file (truncated); download it again")
    return data, header


def _expect(path: Path, header: dict[str, Any], unit: str) -> None:
    said = str(header.get("BUNIT", unit)).lower()
    if unit not in said:
        raise BlindlensError(f"{path} is in {header['BUNIT']!r}, where files of this name hold {unit}; take it out")


def _kpc(path: Path, header: dict[str, Any]) -> float:
    size = abs(_number(path, header, "CDELT1"))
    return size if size < KPC else size / 1000


def _number(path: Path, header: dict[str, Any], card: str) -> float:
    value = header.get(card)
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        raise BlindlensError(f"{path} gives no pixel size in {card}, but {value!r}; download it again")
    return float(value)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
