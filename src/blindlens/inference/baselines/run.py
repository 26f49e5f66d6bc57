"""The run of a baseline: independent runs, from the start's modes in turn where it has a use for them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...config import RunConfig
from ...prior import Denoiser
from ...progress import Progress
from ...sampler.schedule import Schedule
from ..blocks import Draws, Trace, run_blocks
from ..initialise import Start
from ..parallel import spread
from ..problem import Problem
from ..source import misfits
from ..stages import Store
from .bird import Bird
from .blind_dps import BlindDPS
from .fast_em import FastEM

METHODS = ("blind-dps", "fast-em", "bird")


@eqx.filter_jit
def _runs(method: BlindDPS | FastEM | Bird, keys: Array, eta: Array, count: int) -> tuple[Array, Array]:
    return spread(lambda method, item: method(*item, count), method, (keys, eta))


def sample(
    key: Array,
    problem: Problem,
    prior: Denoiser,
    start: Start,
    chains: int,
    draws: int,
    config: RunConfig,
    store: Store,
    progress: Progress,
) -> Draws:
    """`draws` results of each of `chains` chains by `config.method`. fast-em: sources of one lens a chain."""
    schedule = Schedule()
    method = {
        "blind-dps": BlindDPS(problem, prior, schedule, config.blind_dps),
        "fast-em": FastEM(problem, prior, schedule, config.fast_em),
        "bird": Bird(problem, prior, schedule, config.bird),
    }[config.method]
    count = draws if isinstance(method, FastEM) else 1

    def advance(b: int, nothing: np.ndarray, traces: list[Trace]) -> tuple[np.ndarray, Trace]:
        which = (np.arange(chains) + b * chains) % len(start.modes.eta)
        keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(key, b), k))(jnp.arange(chains))
        eta, x = _runs(method, keys, start.modes.eta[which], count)
        flat = eta.reshape(-1, eta.shape[-1]), x.reshape(-1, *x.shape[2:])
        chi2 = np.asarray(misfits(problem, *flat)).reshape(chains, count)
        a = np.zeros((chains, count, 0), np.float32)
        return nothing, {"eta": np.asarray(eta), "x": np.asarray(x), "a": a, "chi2_per_pixel": chi2}

    traces = run_blocks(store, np.zeros(0), draws // count, advance, progress)
    warning = f"{config.method} is a baseline to compare with: its results are no draws of the joint posterior"
    return Draws.of(traces, draws, {"warnings": [warning]})
