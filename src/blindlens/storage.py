"""Files that are either whole or not there, and named arrays with a header."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .errors import BlindlensError, CannotWrite


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends well it becomes `path` in one step.

    The file is synced before it is renamed. If the block fails or is interrupted, nothing is left behind and an
    existing `path` stays as it was. OSError (a full disk) becomes CannotWrite.
    """
    path = Path(path)
    stem, dot, suffix = path.name.partition(".")
    temporary = path.with_name(f".{stem}-{secrets.token_hex(4)}{dot}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise CannotWrite(f"cannot write {path} ({reason}); free some space or choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], header: Mapping) -> None:
    """Write named arrays and a JSON-able header as one safetensors file, atomically."""
    metadata = {"header": json.dumps(dict(header))}
    data = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read what `save_arrays` wrote: (arrays, header). BlindlensError for a missing, corrupt or foreign file."""
    if not Path(path).is_file():
        raise BlindlensError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return arrays, json.loads(metadata["header"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BlindlensError(f"{path} is not a readable blindlens file ({error}); remove it or make it again") from None
