"""Starts from elsewhere: lens parameters from a file (published values, draws of a learned estimator) or another fit.

A file holds one set {Rein: 1.2, q: 0.8, ...} or a list of sets, in YAML or JSON, units and angles as in
docs/conventions.md; or it is the truth.json of a simulated system, or a COOLEST template. What a set leaves out is
found by the evidence.
"""

import json
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import yaml
from jax import Array

from ..conventions.coolest_file import is_coolest, parameters_of
from ..errors import BlindlensError
from ..lens.parameters import ParameterSpace
from .evidence import Evidence
from .parallel import spread

BESIDE = {"source_fov", "seed", "version"}
"""What a truth.json says beside `lens`."""
FARTHEST = 4.0
"""Normal coordinates of a given value are at most this: at the very end of a range, where they are infinite, nothing
has a gradient."""


def read_content(path: Path) -> bytes:
    """The file as it is. Raises BlindlensError when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BlindlensError(
            f"there is no file {path} of lens parameters (--init also takes low-rank and sersic-adam)"
        ) from None
    except OSError as error:
        raise BlindlensError(
            f"cannot read {path} ({error.strerror}); give a YAML or JSON file of lens parameters"
        ) from None


def read_sets(path: Path) -> list[dict[str, float]]:
    """The parameter sets in a YAML or JSON file. Raises BlindlensError when there is none."""
    try:
        text = read_content(path).decode()
        # JSON may be indented by tabs, YAML not
        values = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        raise BlindlensError(f"{path} is neither YAML nor JSON ({' '.join(str(error).split())})") from None
    if isinstance(values, dict) and isinstance(values.get("lens"), dict) and set(values) <= {"lens"} | BESIDE:
        values = values["lens"]
    if is_coolest(values):
        return [parameters_of(values, str(path))]
    sets = values if isinstance(values, list) else [values]
    if not sets or not all(isinstance(one, dict) and one for one in sets):
        raise BlindlensError(
            f"{path} must hold a set of lens parameters, such as {{Rein: 1.2, q: 0.8}}, or a list of them"
        )
    return [{str(name): _number(path, name, value) for name, value in one.items()} for one in sets]


def _number(path: Path, name: str, value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BlindlensError(f"{path}: {name} must be a finite number, not {value!r}")
    return number


def coordinates(space: ParameterSpace, one: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Normal coordinates of a set, (d,), zero where it says nothing, and whether it does, (d,).

    Raises BlindlensError for unknown names, values outside the prior range, and halves of a pair such as q and phi.
    """
    if unknown := sorted(set(one) - set(space.names)):
        raise BlindlensError(f"unknown parameter {unknown[0]!r}; the names are {', '.join(space.names)}")
    eta, known = [], []
    for block in space.blocks:
        given = [name for name in block.names if name in one]
        if 0 < len(given) < len(block.names):
            raise BlindlensError(f"{' and '.join(block.names)} go together; give both or leave both out")
        values = block.to_normal(*(jnp.asarray(one[name], float) for name in given)) if given else jnp.zeros(block.size)
        eta.append(np.clip(np.asarray(values), -FARTHEST, FARTHEST))
        known.append(np.full(block.size, bool(given)))
    return np.concatenate(eta), np.concatenate(known)


@eqx.filter_jit
def _rank(evidence: Evidence, eta: Array) -> Array:
    return spread(lambda evidence, eta: evidence.log_posterior(eta), evidence, eta)


def complete(key: Array, evidence: Evidence, sets: list[dict[str, float]], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """eta (K, d) of the sets and its log posterior (K,).

    What a set leaves out is the best of draws from the prior, about `draws` of them for all sets together.
    """
    eta, known = (np.stack(t) for t in zip(*(coordinates(evidence.problem.space, one) for one in sets), strict=True))
    each = 1 if known.all() else max(1, draws // len(sets))
    drawn = jax.random.normal(key, (each, eta.shape[1]))
    tried = jnp.where(known[:, None], eta[:, None], drawn)
    values = np.asarray(_rank(evidence, tried.reshape(-1, eta.shape[1]))).reshape(len(sets), each)
    values = np.where(np.isfinite(values), values, -np.inf)
    best = values.argmax(1)
    row = np.arange(len(sets))
    return np.asarray(tried)[row, best], values[row, best]
