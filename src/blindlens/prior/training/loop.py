"""A training run: from a configuration to a prior on disk, resumable at any step."""

import functools
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ... import storage
from ...errors import BlindlensError
from ...progress import Progress
from ..checkpoint import locate
from ..data import (
    Images,
    Mixture,
    Normalisation,
    augment,
    largest_distance,
    normalisation,
    open_images,
    prepared,
    split,
)
from ..networks import NETWORKS
from ..score import ScorePrior, Span
from .checkpoint import read_state, write_state
from .config import DataConfig, TrainConfig
from .objective import State, advance, errors, first_state

BANDS = ((0.001, 0.01), (0.01, 0.05), (0.05, 0.2), (0.2, 1.0), (1.0, 10.0), (10.0, 100.0))
"""Noise levels over which the validation loss is averaged apart."""


def open_data(config: DataConfig, folder: Path, progress: Progress) -> Images:
    """The configured images, copied to `folder` where they can be read at random."""
    parts = [
        open_images(source, config.n, unit=None if source.startswith("procedural") else config.unit)
        for source in config.sources
    ]
    images = parts[0] if len(parts) == 1 else Mixture(parts, config.shares, config.factors)
    return prepared(images, folder, progress)


def begin(config: TrainConfig, images: Images, numbers: np.ndarray) -> State:
    """A run at step 0: the units, the noise's span and the network's shape are fixed here."""
    cls, network_config, preconditioning = NETWORKS[config.network]
    shape = network_config.from_mapping(config.network_config, "network_config")
    if config.start is not None:
        old = ScorePrior.load(locate(config.start))
        if not isinstance(old.network, cls) or old.network.config != shape or old.n != images.n:
            raise BlindlensError(f"{config.start} is of another network or image size than this configuration")
        network, span, unit = old.network, old.span, Normalisation(old.scale, old.offset)
    else:
        C, M = normalisation(images, numbers)
        unit = Normalisation(config.data.scale or C, M if config.data.offset is None else config.data.offset)
        some = np.sort(np.random.default_rng(0).choice(numbers, min(2048, len(numbers)), replace=False))
        sd = float(np.std((images.read(some) - unit.offset) / unit.scale))
        widest = config.sigma_max or round(largest_distance(images, unit, numbers=numbers), 2)
        network, span = cls.init(jax.random.key(config.seed), shape), Span(sd, config.sigma_min, widest)
        if not span.sigma_max > span.sigma_min:
            raise BlindlensError(f"sigma_max, {widest:g}, must be above sigma_min, {config.sigma_min:g}")
    return first_state(ScorePrior(network, span, preconditioning, *unit, images.n, config.name), config)


def batch_numbers(numbers: np.ndarray, config: TrainConfig, step: int) -> np.ndarray:
    """The images of a step: epochs are permutations, a function of the seed and the step alone."""
    first = step * config.batch
    out = []
    for epoch in range(first // len(numbers), (first + config.batch - 1) // len(numbers) + 1):
        low = max(first - epoch * len(numbers), 0)
        out.append(_order(config.seed, epoch, len(numbers))[low : first + config.batch - epoch * len(numbers)])
    return numbers[np.concatenate(out)]


@functools.lru_cache(maxsize=2)  # an epoch's order serves all of its steps
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def train(config: TrainConfig, out: Path, progress: Progress | None = None, devices: int | None = None) -> ScorePrior:
    """Train, or go on with the run in `out`; returns the prior of the longest running average.

    In `out`: `checkpoint.safetensors` (the whole state, replaced every `save_every` steps, so that after a crash the
    run goes on exactly), `<name>.safetensors` (the prior, for `infer`), `config.yaml`, `losses.csv`. `devices` of this
    machine, by default all, share each batch as far as they divide it. Ctrl-C saves first. BlindlensError for data that
    cannot be used, another run's folder, or a loss that is no longer finite (the last good checkpoint stays).
    """
    progress = progress or Progress()
    images = open_data(config.data, out / "images", progress)
    numbers, kept_back = split(images, config.data.validation, config.seed)
    state = read_state(out, config, lambda: begin(config, images, numbers))
    storage.write_text(out / "config.yaml", config.to_yaml())
    most = min(devices or jax.local_device_count(), jax.local_device_count())
    sharing = max(n for n in range(1, most + 1) if config.batch % n == 0)
    mesh = Mesh(np.array(jax.local_devices()[:sharing]), ("batch",))
    everywhere, shared_out = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
    state = jax.device_put(state, everywhere)
    validate = Validation(config, images, kept_back, state.prior)
    key = jax.random.key(config.seed)

    @eqx.filter_jit
    def step(state: State, pixels: Array) -> State:
        prior = state.prior
        turn = jax.random.fold_in(jax.random.fold_in(key, 1), state.step)
        x = (augment(turn, pixels, config.data.augmentation) - prior.offset) / prior.scale
        return advance(state, jax.random.fold_in(key, 2), x, config)

    def save(state: State) -> None:
        # the loss of a step is taken before its update: weights may have gone where no loss has been yet
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((state.loss, eqx.filter(state.prior, eqx.is_array)))]
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            raise BlindlensError(
                f"the loss or the weights are not finite at step {int(state.step)}; take a smaller `rate` in a new "
                f"folder (the last checkpoint in {out} stays)"
            )
        write_state(out, state, config)
        state.averages[-1].save(
            out / f"{config.name}.safetensors", {"steps": int(state.step), **described(config, images)}
        )

    done = int(state.step)
    if done == 0:
        # what a run that starts from a prior is to be held against
        validate.append(out / "losses.csv", state, progress)
    with progress.stage("train", config.steps) as bar:
        bar.advance(done)
        try:
            for i in range(done, config.steps):
                pixels = images.read(np.sort(batch_numbers(numbers, config, i)))
                state = step(state, jax.device_put(pixels, shared_out))
                if (i + 1) % 20 == 0:
                    bar.advance(20, loss=float(state.loss))
                last = i + 1 == config.steps
                if (i + 1) % config.validate_every == 0 or last:
                    validate.append(out / "losses.csv", state, progress)
                if (i + 1) % config.save_every == 0 or last:
                    save(state)
        except KeyboardInterrupt:
            save(state)
            raise
    return jax.device_put(state.averages[-1], jax.local_devices()[0])


def described(config: TrainConfig, images: Images) -> dict[str, Any]:
    """What a prior's file says of its origin."""
    return {
        "version": version("blindlens"),
        "images": images.name,
        "unit": images.unit,
        "train": config.model_dump(mode="json"),
    }


class Validation:
    """Loss on images kept back, with fixed noise, per band of noise levels: of the weights and of each average."""

    def __init__(self, config: TrainConfig, images: Images, numbers: np.ndarray, prior: ScorePrior):
        rng = np.random.default_rng(config.seed)
        some = np.sort(rng.choice(numbers, min(config.validation_images, len(numbers)), replace=False))
        self.x = jnp.asarray((images.read(some) - prior.offset) / prior.scale)
        self.names = ["now", *(f"ema{decay:g}" for decay in config.ema)]

    def append(self, path: Path, state: State, progress: Progress) -> None:
        """One line of losses.csv a set of weights."""
        lines = path.read_text().splitlines() if path.exists() else [",".join(["step", "weights", *_band_names()])]
        # after a crash, lines from beyond the checkpoint are made again
        lines = lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) < int(state.step)]
        for name, prior in zip(self.names, (state.prior, *state.averages), strict=True):
            losses = [float(_band_loss(prior, self.x, *map(jnp.float32, band))) for band in BANDS]
            lines.append(",".join([str(int(state.step)), name, *(f"{loss:.6g}" for loss in losses)]))
        storage.write_text(path, "\n".join(lines) + "\n")
        progress.say(
            f"step {int(state.step)}: validation loss of {self.names[-1]} per noise band {lines[-1].split(',')[2:]}"
        )


def _band_names() -> list[str]:
    return [f"{low:g}-{high:g}" for low, high in BANDS]


@eqx.filter_jit
def _band_loss(prior: ScorePrior, x: Array, low: Array, high: Array) -> Array:
    """Mean of the weighted error over noise levels log-uniform in a band; the noise is the same in every call."""
    sigma = low * (high / low) ** ((jnp.arange(len(x)) + 0.5) / len(x))
    eps = jax.random.normal(jax.random.key(7), x.shape)
    parts = range(0, len(x), 32)
    losses = [errors(prior, *(t[i : i + 32] for t in (x, sigma, eps)), jnp.dtype("float32")) for i in parts]
    return jnp.concatenate(losses).mean()
