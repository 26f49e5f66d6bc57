"""One plane of a FITS file: which extension, which pixel scale, and what is wrong when it cannot be read."""

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.io import fits

from .errors import BlindlensError
from .noise_map import Kind

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("NOISE", "RMS", "ERR", "SIGMA"), "sigma"),
    **dict.fromkeys(("VAR", "VARIANCE"), "variance"),
    **dict.fromkeys(("IVAR", "IVM", "WHT", "WEIGHT"), "inverse variance"),
}
"""What the noise extension of each name holds."""
NAMES = {
    "image": ("SCI", "DATA"),
    "noise": tuple(KINDS),
    "psf": ("PSF",),
    "mask": ("MASK",),
}
WCS_CARDS = ("CTYPE", "CRVAL", "CRPIX", "CUNIT", "CDELT", "CD", "PC", "CROTA", "RADESYS", "EQUINOX")
READ_ERRORS = (OSError, ValueError, TypeError, EOFError, KeyError, IndexError, zlib.error)


class Plane(NamedTuple):
    """An image, its header (the primary header's cards beneath its own) and its extension's name in capitals.

    rivals: how many other images of the file could as well have been meant.
    """

    data: np.ndarray
    header: dict[str, Any]
    name: str
    rivals: int = 0

    def wcs_cards(self) -> dict:
        """The cards that place the image on the sky."""
        keep = (k for k in self.header if k.rstrip("0123456789_") in WCS_CARDS)
        return {key: self.header[key] for key in keep}


def read_plane(path: str | Path, role: str, alone: bool = True) -> Plane | None:
    """The `role` ("image", "noise", "psf", "mask") plane of a FITS file.

    An extension of that role's name; else, for an image or where the file was given for this role alone, the first
    two-dimensional one that is not named after another role, or the only one; else None. Compressed images and .gz
    files are read too.
    """
    if not Path(path).is_file():
        raise BlindlensError(f"there is no file {path}")
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            with fits.open(_unpacked(Path(path)), memmap=False) as hdus:
                plane = _choose(hdus, role, alone or role == "image")
    except READ_ERRORS as error:
        raise BlindlensError(f"{path} is not a readable FITS file ({_first_line(error)}); download it again") from None
    damage = [str(w.message) for w in complaints if "truncated" in str(w.message) or "corrupted" in str(w.message)]
    if damage and (plane is None or "truncated" in damage[0]):  # bytes after the last extension do no harm
        raise BlindlensError(f"{path} is not a readable FITS file (truncated or corrupted); download it again")
    if plane is None and (alone or role == "image"):
        raise BlindlensError(f"{path} holds no two-dimensional {role}; give a file with one")
    return plane


def _unpacked(path: Path) -> Path | io.BytesIO:
    """The path, or the content of a gzip file: astropy takes a broken one for a shorter one."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return io.BytesIO(gzip.decompress(path.read_bytes())) if packed else path


def _choose(hdus: Any, role: str, any_name: bool) -> Plane | None:
    others = {name for key, names in NAMES.items() if key != role for name in names}
    images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
    for name in NAMES[role]:
        for hdu in images:
            if hdu.name.upper() == name:
                return _plane(hdus, hdu)
    if not any_name:
        return None
    flat = [hdu for hdu in images if sum(n > 1 for n in hdu.shape) <= 2]
    spare = [hdu for hdu in flat if hdu.name.upper() not in others] or (flat if len(flat) == 1 else [])
    return _plane(hdus, spare[0], len(spare) - 1) if spare else None


def _plane(hdus: Any, hdu: Any, rivals: int = 0) -> Plane:
    header = dict(hdus[0].header) | dict(hdu.header)
    return Plane(np.asarray(hdu.data).astype(np.float64), header, hdu.name.upper(), rivals)


def pixel_scale_of(header: dict[str, Any], given: float | None, path: str | Path) -> tuple[float, tuple[str, ...]]:
    """(arcsec per pixel, notes) from the WCS, then PIXSCALE or PIXSCAX, then `given`."""
    found = _from_wcs(header, path) or _from_keywords(header, path)
    if given is not None:
        if not given > 0:
            raise BlindlensError(f"the pixel scale must be a positive number of arcsec, not {given}")
        if found is not None and abs(found / given - 1) > 0.01:
            return given, (f"pixel scale {given:g} arcsec as given, although the header says {found:.6g}",)
        return given, ()
    if found is None:
        raise BlindlensError(f"{path} says nothing about its pixel scale; give --pixel-scale ARCSEC")
    return found, ()


def _from_wcs(header: dict[str, Any], path: str | Path) -> float | None:
    """From CD, PC or CDELT, if CTYPE or CUNIT says that the axes are angles on the sky."""
    ctype = str(header.get("CTYPE1", "")).upper()
    cunit = str(header.get("CUNIT1", "")).strip()
    try:
        unit = units.Unit(cunit.lower() or "deg").to(units.arcsec)
    except (ValueError, units.UnitConversionError):
        return None
    if not (cunit or ctype.startswith(("RA-", "DEC-")) or "LON" in ctype or "LAT" in ctype):
        return None
    if any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        matrix = [[float(header.get(f"CD{i}_{j}", 0.0)) for j in (1, 2)] for i in (1, 2)]
    elif "CDELT1" in header:
        pc = [[float(header.get(f"PC{i}_{j}", i == j)) for j in (1, 2)] for i in (1, 2)]
        matrix = np.diag([float(header["CDELT1"]), float(header.get("CDELT2", header["CDELT1"]))]) @ np.array(pc)
    else:
        return None
    x, y = np.linalg.norm(np.array(matrix), axis=0) * unit
    return _square(x, y, path)


def _from_keywords(header: dict[str, Any], path: str | Path) -> float | None:
    """From PIXSCALE, or PIXSCAX and PIXSCAY, in arcsec."""
    if "PIXSCALE" in header:
        return _square(header["PIXSCALE"], header["PIXSCALE"], path)
    if "PIXSCAX" in header:
        return _square(header["PIXSCAX"], header.get("PIXSCAY", header["PIXSCAX"]), path)
    return None


def _square(x: Any, y: Any, path: str | Path) -> float:
    try:
        x, y = float(x), float(y)
    except (TypeError, ValueError):
        raise BlindlensError(f"the pixel scale in {path} is not a number; give --pixel-scale ARCSEC") from None
    if not (x > 0 and y > 0 and abs(x / y - 1) < 0.01):
        raise BlindlensError(f"the pixels of {path} are not square ({x:g} by {y:g} arcsec); resample to square pixels")
    return x


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
