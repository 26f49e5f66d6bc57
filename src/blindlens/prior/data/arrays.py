"""Images in one array (count, height, width): .npy, .npz, HDF5 or zarr."""

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from ...errors import BlindlensError
from .images import Images, in_range
from .stamps import stamp

SOURCE = re.compile(r"(?P<path>.+\.(?P<format>npy|npz|h5|hdf5|zarr))(?::(?P<key>.+))?", re.IGNORECASE)
READ_ERRORS = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)


class Store(NamedTuple):
    """An array on disk: images of sorted, distinct numbers; its shape; what is written beside it."""

    take: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    groups: np.ndarray | None
    unit: str | None


@final
class Arrays(Images):
    """A named array `path:key`, or the only three-dimensional one in the file; row 0 of an image at the bottom.

    Larger images are cut to the central square and averaged to n x n; smaller ones are refused. A 1-D array "groups"
    beside the images says which belong together (else each is its own group), "unit" (a string; in HDF5 and zarr an
    attribute) what they are measured in. Beside FILE.npy the same are looked for in FILE.json. The unit is
    "arbitrary" if neither the file nor `unit` says it. .npy, HDF5 and zarr are read piecewise, a .npz whole: make
    large sets in another format. BlindlensError for a file that is missing, corrupt or has no such array, for shapes
    that don't fit, and for a `unit` other than the file's.
    """

    def __init__(self, source: str, n: int = 64, unit: str | None = None):
        match = SOURCE.fullmatch(source)
        if match is None:
            raise BlindlensError(
                f"{source} is not FILE.npy, .npz, .h5, .hdf5 or .zarr, with :NAME of an array or without"
            )
        path, key = Path(match["path"]), match["key"]
        if not path.exists():
            raise BlindlensError(f"there is no file {path}")
        try:
            self._store = OPENERS[match["format"].lower()](path, key)
        except READ_ERRORS as error:
            if isinstance(error, BlindlensError):
                raise
            raise BlindlensError(f"{path} is not a readable {match['format']} file ({_line(error)})") from None
        shape = self._store.shape
        if len(shape) != 3 or not shape[0] or min(shape[1:]) < n:
            raise BlindlensError(f"{source} has the shape {shape}; (count, height, width) of at least {n} pixels fits")
        said = self._store.unit
        if unit and said and unit != said:
            raise BlindlensError(f"{source} is in {said}, not {unit}; leave the unit out or convert the images")
        self.n, self.unit, self.path, self.key = n, unit or said or "arbitrary", path, key
        self.name = path.stem

    def __len__(self) -> int:
        return self._store.shape[0]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        numbers = in_range(numbers, len(self), self.name)
        distinct, back = np.unique(numbers, return_inverse=True)
        try:
            raw = self._store.take(distinct)
        except READ_ERRORS as error:
            raise BlindlensError(f"{self.path} cannot be read ({_line(error)}); make or download it again") from None
        if raw.shape[1:] != (self.n, self.n):
            side = min(raw.shape[1:])
            named = zip(raw, distinct, strict=True)
            raw = np.stack([stamp(image, side, self.n, f"image {i} of {self.path}") for image, i in named])
        images = raw.astype(np.float32, copy=False)
        finite = np.isfinite(images).all((1, 2))
        if not finite.all():
            raise BlindlensError(f"image {distinct[~finite][0]} of {self.path} has pixels that are not finite; mend it")
        return images[back]

    def groups(self) -> np.ndarray:
        groups = self._store.groups
        if groups is None:
            return np.array([f"{self.name}/{i}" for i in range(len(self))])
        if np.shape(groups) != (len(self),):
            raise BlindlensError(f"{self.path} has {np.size(groups)} groups for {len(self)} images")
        return np.asarray(groups).astype(str)

    def identity(self) -> dict:
        stat = self.path.stat()
        return {"kind": "array", "file": self.path.name, "size": stat.st_size, "time": stat.st_mtime_ns} | {
            "key": self.key,
            "shape": list(self._store.shape),
            "n": self.n,
            "unit": self.unit,
        }


def _npy(path: Path, key: str | None) -> Store:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    beside = path.with_suffix(".json")
    said = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    groups = np.array(said["groups"]) if "groups" in said else None
    return Store(lambda numbers: array[numbers], array.shape, groups, said.get("unit"))


def _npz(path: Path, key: str | None) -> Store:
    with np.load(path, allow_pickle=False) as file:
        shapes = {name: _shape_in(file, name) for name in file.files}
        array = file[_choose(shapes, key, path)]
        groups = file["groups"] if "groups" in file.files else None
        unit = str(file["unit"]) if "unit" in file.files else None
    return Store(lambda numbers: array[numbers], array.shape, groups, unit)


def _shape_in(file: Any, name: str) -> tuple[int, ...]:
    """From the array's header alone."""
    with file.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(member)[0]


def _hdf5(path: Path, key: str | None) -> Store:
    import h5py

    shapes = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: shapes.update({name: item.shape} if isinstance(item, h5py.Dataset) else {}))
        key = _choose(shapes, key, path)
        attributes = dict(file.attrs) | dict(file[key].attrs)
        groups = file["groups"].asstr()[:] if "groups" in shapes else None  # pyright: ignore

    def take(numbers: np.ndarray) -> np.ndarray:
        with h5py.File(path, "r") as file:  # opened each time: survives fork and pickling
            return np.asarray(file[key][numbers])  # pyright: ignore

    return Store(take, shapes[key], groups, _text(attributes.get("unit")))


def _zarr(path: Path, key: str | None) -> Store:
    try:
        import zarr
    except ImportError:
        raise BlindlensError(f"reading {path} needs zarr: pip install 'blindlens[train]'") from None
    root: Any = zarr.open(str(path), mode="r")
    if isinstance(root, zarr.Array):
        arrays, key, groups = {"": root}, "", None
    else:
        arrays = dict(root.arrays())
        key = _choose({name: a.shape for name, a in arrays.items()}, key, path)
        groups = np.asarray(arrays["groups"][:]) if "groups" in arrays else None
    array = arrays[key]
    unit = {**root.attrs, **array.attrs}.get("unit")
    return Store(lambda numbers: np.asarray(array.oindex[numbers]), array.shape, groups, _text(unit))


def _choose(shapes: Mapping[str, tuple[int, ...]], key: str | None, path: Path) -> str:
    stacks = [name for name, shape in shapes.items() if len(shape) == 3]
    if key in shapes or (key is None and len(stacks) == 1):
        return key or stacks[0]
    if key is not None:
        raise BlindlensError(f"{path} has no array {key!r}; it has {', '.join(shapes) or 'none'}")
    if not stacks:
        raise BlindlensError(f"{path} holds no array (count, height, width); it has {', '.join(shapes) or 'none'}")
    raise BlindlensError(f"{path} holds several image arrays: give one of {', '.join(f'{path}:{s}' for s in stacks)}")


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


OPENERS = {"npy": _npy, "npz": _npz, "h5": _hdf5, "hdf5": _hdf5, "zarr": _zarr}
