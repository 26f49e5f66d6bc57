"""Finished stages of a run on disk, so that the same call resumes after Ctrl-C or a crash."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from .. import __version__
from ..config import RunConfig
from ..lens.mass import LensModel
from ..observation import Observation
from ..prior import Denoiser
from ..storage import load_arrays, save_arrays
from .given import read_content


def fingerprint(observation: Observation, prior: Denoiser, lens: LensModel, config: RunConfig) -> str:
    """A hash of all that decides the result, so that a run resumes only its own work.

    Raises BlindlensError when the file that the run starts from cannot be read.
    """
    described = [__version__, prior.digest(), lens.mass, repr(lens.space.priors()), repr(lens.components)]
    described.append(config.model_dump(exclude={"physics"}))
    digest = hashlib.sha256(json.dumps(described, default=str).encode())
    for array in (observation.image, observation.noise, observation.psf, observation.mask):
        digest.update(np.ascontiguousarray(array).tobytes())
    for file in (config.initialise.file, config.lens_params):
        if file is not None:
            digest.update(read_content(file))
    return digest.hexdigest()


class Store:
    """Finished stages in one folder; None keeps nothing. Files of another run are replaced."""

    def __init__(self, folder: Path | None, mark: str):
        self.folder, self.mark = folder, mark

    def read(self, name: str) -> tuple[dict[str, np.ndarray], dict] | None:
        """What `write` kept under this name in a run with the same fingerprint, or None."""
        path = self.folder and self.folder / f"{name}.stage"
        if not path or not path.is_file():
            return None
        arrays, header = load_arrays(path)
        return (arrays, header) if header.get("fingerprint") == self.mark else None

    def write(self, name: str, arrays: Mapping[str, Array | np.ndarray], **header: Any) -> None:
        """Keep arrays and JSON-able values, atomically."""
        if self.folder is not None:
            plain = {key: np.asarray(value) for key, value in arrays.items()}
            save_arrays(self.folder / f"{name}.stage", plain, {"fingerprint": self.mark, **header})

    def clear(self) -> None:
        """Remove the stages once the whole result exists."""
        for path in self.folder.glob("*.stage") if self.folder else ():
            path.unlink()
