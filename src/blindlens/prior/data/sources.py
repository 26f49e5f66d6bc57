"""What a user writes for a set of training images, opened."""

from pathlib import Path

from ...errors import BlindlensError
from .arrays import SOURCE, Arrays
from .folders import BAND, Folder
from .images import Images
from .procedural import COUNT, Procedural


def open_images(
    source: str, n: int = 64, *, unit: str | None = None, field: float | None = None, band: str = BAND
) -> Images:
    """The images that `source` names, n pixels a side:

    "procedural", "procedural:N" or "procedural:N:SEED"; a folder of SKIRT-TNG files (idealized or realistic, of which
    `band` is read), of other FITS files or of PNG, JPEG or TIFF pictures (`folders`); FILE.npy, .npz, .h5, .hdf5 or
    .zarr, with :NAME of the array where it holds several (`arrays`).

    unit: what the images are in, where the source doesn't say; field: side of the stamp in kpc, where pixels have a
    size (50 if None). Raises BlindlensError for what it cannot open.
    """
    if n < 8:
        raise BlindlensError(f"images for a prior have at least 8 pixels a side, not {n}")
    if field is not None and not field > 0:
        raise BlindlensError(f"the field must be a positive number of kpc, not {field}")
    if source.split(":")[0] == "procedural":
        if unit not in (None, "procedural"):
            raise BlindlensError(f"procedural galaxies are in their own unit, not in {unit}: leave the unit out")
        return Procedural(*_numbers(source), n=n, field=field)
    if SOURCE.fullmatch(source):
        if field is not None:
            raise BlindlensError(f"the pixels of {source} have no size in kpc: leave the field out")
        return Arrays(source, n, unit)
    if not Path(source).is_dir():
        raise BlindlensError(
            f"{source} is neither a folder, nor procedural:N:SEED, nor FILE.npy, .npz, .h5, .hdf5 or .zarr (with :NAME)"
        )
    return Folder(Path(source), n, unit, field, band)


def _numbers(source: str) -> tuple[int, int]:
    parts = source.split(":")[1:]
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise BlindlensError(f"{source} should read procedural, procedural:N or procedural:N:SEED with whole numbers")
    return (int(parts[0]) if parts else COUNT), (int(parts[1]) if len(parts) > 1 else 0)
