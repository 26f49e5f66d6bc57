"""A set of images copied into one memory-mapped file: slow formats are read once, and large sets never whole."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ...errors import BlindlensError
from ...progress import Progress
from ...storage import write_text
from .arrays import Arrays
from .images import Images
from .mixture import Mixture

CHUNK = 256  # images between two points from which an interrupted copy resumes


def prepared(images: Images, folder: Path, progress: Progress | None = None) -> Images:
    """The same images from a float32 copy in `folder`: NAME-DIGEST.npy, beside it .json with unit, groups, identity.

    A copy of a set of the same identity is reused after a look at its first and last image. A copy that was
    interrupted goes on where it stopped; the .npy has its name only once it is whole. Processes that ask for the same
    copy wait for one of them to make it. Of a mixture, each part is copied. BlindlensError if the folder cannot be
    written (a full disk), or what the source's `read` raises.
    """
    if isinstance(images, Mixture):
        return images.each(lambda part: prepared(part, folder, progress))
    identity = json.loads(json.dumps(images.identity()))
    digest = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=6).hexdigest()
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in images.name)[:40]
    target = Path(folder) / f"{safe}-{digest}.npy"
    with _writing(target), _locked(target.with_suffix(".lock")):
        copy = _existing(target, images)
        if copy is None:
            _copy(images, target, progress or Progress())
            described = {"name": images.name, "unit": images.unit, "groups": images.groups().tolist()}
            write_text(target.with_suffix(".json"), json.dumps(described | {"identity": identity}))
            # Last, so that a .npy of that name is whole and described.
            os.replace(target.with_suffix(".part"), target)
            copy = _described(target, images)
    return copy


def _described(target: Path, images: Images) -> Arrays:
    copy = Arrays(str(target), images.n)
    copy.name = images.name
    return copy


def _existing(target: Path, images: Images) -> Arrays | None:
    """The finished copy, if there is one and it agrees with what its source gives now: painters change."""
    if not (target.is_file() and target.with_suffix(".json").is_file()):
        return None
    with suppress(BlindlensError):
        copy = _described(target, images)
        ends = np.array([0, len(images) - 1])
        if len(copy) == len(images) and np.allclose(copy.read(ends), images.read(ends), rtol=1e-3, atol=1e-6):
            return copy
    target.unlink()
    return None


def _copy(images: Images, target: Path, progress: Progress) -> None:
    header = io.BytesIO()
    shape = (len(images), images.n, images.n)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    begin, size = len(header.getvalue()), 4 * images.n**2
    part = target.with_suffix(".part")
    # Appended, not mapped: on a full disk a mapped file kills the process instead of raising.
    with open(part, "r+b" if part.exists() else "w+b") as file:
        whole = (os.fstat(file.fileno()).st_size - begin) // size
        done = max(0, whole // CHUNK * CHUNK) if whole < len(images) else len(images)
        file.truncate(begin + done * size if done else 0)
        file.seek(0)
        file.write(header.getvalue())
        file.seek(begin + done * size)
        with progress.stage(f"copy {images.name}", len(images)) as bar:
            bar.advance(done)
            for first in range(done, len(images), CHUNK):
                numbers = np.arange(first, min(first + CHUNK, len(images)))
                file.write(images.read(numbers).astype("<f4").tobytes())
                file.flush()
                os.fsync(file.fileno())
                bar.advance(numbers.size)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process at a time, and let go by the system when that process dies."""
    with open(path, "w") as file:
        with suppress(ImportError):  # Windows: alone or not at all
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise BlindlensError(
            f"cannot write {target} ({error.strerror or error}); free some space or choose another folder"
        ) from error
