"""Priors on disk: safetensors with a JSON header."""

from importlib import resources
from pathlib import Path

import numpy as np

from .. import storage
from ..errors import BlindlensError


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """A prior's arrays and header; BlindlensError for a missing, corrupt or foreign file."""
    if not Path(path).is_file():
        raise BlindlensError(f"there is no prior file {path}; shipped priors are: {', '.join(shipped())}")
    return storage.load_arrays(path)


def _folder() -> Path:
    return Path(str(resources.files("blindlens.prior") / "weights"))


def shipped() -> list[str]:
    """Names of the priors in the package."""
    return sorted(file.stem for file in _folder().glob("*.safetensors"))


def locate(name: str) -> Path:
    """The file of a shipped prior's name or of a path."""
    return _folder() / f"{name}.safetensors" if name in shipped() else Path(name)
