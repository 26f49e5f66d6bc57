"""Priors on disk: safetensors with a JSON header, never a pickle."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import BlindlensError

FORMAT = "blindlens-prior-1"


def save_arrays(path: Path, arrays: dict[str, np.ndarray], header: dict) -> None:
    """Write arrays and a JSON-able header as one safetensors file."""
    metadata = {"format": FORMAT, "header": json.dumps(header)}
    Path(path).write_bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata))


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read what `save_arrays` wrote; BlindlensError for a missing, corrupt or foreign file."""
    if not Path(path).is_file():
        raise BlindlensError(f"there is no prior file {path}; shipped priors are: {', '.join(shipped())}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BlindlensError(f"{path} is not a readable prior file ({error}); download or make it again") from None
    if metadata.get("format") != FORMAT:
        raise BlindlensError(f"{path} was not written by this version of blindlens; make the prior again")
    return arrays, json.loads(metadata["header"])


def _folder() -> Path:
    return Path(str(resources.files("blindlens.prior") / "weights"))


def shipped() -> list[str]:
    """Names of the priors in the package."""
    return sorted(file.stem for file in _folder().glob("*.safetensors"))


def locate(name: str) -> Path:
    """The file of a shipped prior's name or of a path."""
    return _folder() / f"{name}.safetensors" if name in shipped() else Path(name)
