"""The whole state of a training run on disk, so that it goes on exactly where it stopped."""

from collections.abc import Callable
from pathlib import Path

import jax

from ... import storage
from ...errors import BlindlensError
from ..networks import NETWORKS
from ..score import ScorePrior, Span, named_arrays, with_arrays
from .config import TrainConfig
from .objective import State, first_state

FREE = {"steps", "validate_every", "save_every", "validation_images"}
"""What may change when a run goes on."""


def write_state(out: Path, state: State, config: TrainConfig) -> None:
    """Replace `checkpoint.safetensors`, atomically."""
    prior = state.prior
    header = {"kind": "training", "config": config.model_dump(mode="json"), "span": prior.span._asdict()}
    header |= {"scale": prior.scale, "offset": prior.offset, "n": prior.n}
    storage.save_arrays(out / "checkpoint.safetensors", named_arrays(state), header)


def read_state(out: Path, config: TrainConfig, begin: Callable[[], State]) -> State:
    """The state of the run in `out`, or that of `begin` if there is none.

    BlindlensError if the folder's run has another configuration (the number of steps may differ), or is corrupt.
    """
    path = out / "checkpoint.safetensors"
    if not path.exists():
        return begin()
    arrays, header = storage.load_arrays(path)
    if header.get("kind") != "training":
        raise BlindlensError(f"{path} is not a training checkpoint (its kind is {header.get('kind')!r})")
    old, new = header["config"], config.model_dump(mode="json")
    other = [key for key in new if key not in FREE and old.get(key) != new[key]]
    if other:
        raise BlindlensError(f"{out} holds a run with another {other[0]!r}; use its config.yaml or another folder")
    cls, network_config, preconditioning = NETWORKS[config.network]

    network = cls.init(jax.random.key(0), network_config.from_mapping(config.network_config, "network_config"))
    n, scale, offset = (header[key] for key in ("n", "scale", "offset"))
    blank = first_state(
        ScorePrior(network, Span(**header["span"]), preconditioning, scale, offset, n, config.name), config
    )
    return with_arrays(blank, arrays, str(path))
