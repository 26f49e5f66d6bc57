"""A folder of image files as a set of images."""

import hashlib
from pathlib import Path
from typing import final

import numpy as np

from ...errors import BlindlensError
from .formats import (
    FITS,
    IDEALIZED,
    PICTURES,
    REALISTIC,
    read_fits,
    read_idealized,
    read_picture,
    read_realistic,
)
from .images import Images, in_range
from .stamps import stamp

BAND = "SUBARU_HSC.I"  # the paper's
FIELD = 50.0  # kpc, the paper's
READERS = {
    "SKIRT-TNG idealized": read_idealized,
    "SKIRT-TNG realistic": read_realistic,
    "FITS": read_fits,
    "picture": read_picture,
}


@final
class Folder(Images):
    """All images in a folder and its subfolders, of one kind, told by their names; read one by one when asked for.

    Where pixels have a size, the central `field` kpc (50 if None) are cut out, empty beyond the image; else the central
    square. Then pixels are averaged to n x n. `unit` names a unit that the files leave out. SKIRT-TNG files form
    groups by subhalo number, over views *and* snapshots. That is what can be told without merger trees: a galaxy may
    have another number in the next snapshot, so for a strict split use one snapshot. Other files are each their own.
    BlindlensError for an empty folder, for several kinds in one, and, when read, for a file that is corrupt, of
    another unit than the first or too small for n pixels.
    """

    def __init__(self, path: Path, n: int = 64, unit: str | None = None, field: float | None = None, band: str = BAND):
        found = {file: kind for file in sorted(path.rglob("*")) if (kind := _kind(file.name))}
        kinds = sorted(set(found.values()))
        if not kinds:
            raise BlindlensError(f"{path} holds no images ({', '.join(FITS + PICTURES)}); give another folder")
        if len(kinds) > 1:
            one = [next(str(f) for f, k in found.items() if k == kind) for kind in kinds[:2]]
            raise BlindlensError(
                f"{path} holds {kinds[0]} and {kinds[1]} files ({one[0]}, {one[1]}): put them into folders of their own"
            )
        self.path, self.kind, self.files, self.band = path, kinds[0], list(found), band
        self.n, self.name = n, path.resolve().name
        first = READERS[self.kind](self.files[0], band, field or FIELD)
        self._said, self._sized = first.unit, first.kpc is not None
        if unit and first.unit not in ("arbitrary", unit):
            raise BlindlensError(f"{self.files[0]} is in {first.unit}, not {unit}; leave the unit out")
        if field is not None and not self._sized:
            raise BlindlensError(f"the pixels of {self.files[0]} have no size in kpc: leave the field out")
        self.unit, self.field = unit or first.unit, field or FIELD

    def __len__(self) -> int:
        return len(self.files)

    def read(self, numbers: np.ndarray) -> np.ndarray:
        numbers = in_range(numbers, len(self), self.name)
        stamps = [self._read(self.files[i]) for i in numbers]
        return np.stack(stamps) if stamps else np.empty((0, self.n, self.n), np.float32)

    def _read(self, file: Path) -> np.ndarray:
        frame = READERS[self.kind](file, self.band, self.field)
        if (frame.unit, frame.kpc is not None) != (self._said, self._sized):
            sizes = ["of unknown size", "of known size"]
            raise BlindlensError(
                f"{file} is in {frame.unit} with pixels {sizes[frame.kpc is not None]}, {self.files[0]} in "
                f"{self._said} with pixels {sizes[self._sized]}: put them into folders of their own"
            )
        side = min(frame.data.shape) if frame.kpc is None else self.field / frame.kpc
        return stamp(frame.data, side, self.n, file)

    def groups(self) -> np.ndarray:
        pattern = {"SKIRT-TNG idealized": IDEALIZED, "SKIRT-TNG realistic": REALISTIC}.get(self.kind)
        if pattern is None:
            return np.array([f"{self.name}/{file.relative_to(self.path).as_posix()}" for file in self.files])
        matches = [pattern.fullmatch(file.name) for file in self.files]
        return np.array([f"TNG/{int(match['subhalo'])}" for match in matches if match])

    def identity(self) -> dict:
        digest = hashlib.blake2b(digest_size=16)
        for file in self.files:
            stat = file.stat()
            digest.update(f"{file.relative_to(self.path).as_posix()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return {"kind": self.kind, "files": digest.hexdigest(), "count": len(self), "n": self.n, "unit": self.unit} | (
            {"field": self.field, "band": self.band} if self._sized else {}
        )


def _kind(name: str) -> str | None:
    if name.startswith("."):
        return None
    if IDEALIZED.fullmatch(name):
        return "SKIRT-TNG idealized"
    if REALISTIC.fullmatch(name):
        return "SKIRT-TNG realistic"
    lower = name.lower()
    return "FITS" if lower.endswith(FITS) else "picture" if lower.endswith(PICTURES) else None
