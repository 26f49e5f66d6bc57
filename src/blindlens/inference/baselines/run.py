"""The run of a baseline: independent runs, from the start's modes in turn where it has a use for them."""

import equinox as eqx
import numpy as np
from jax import Array

from ...config import RunConfig
from ...prior import Denoiser
from ...progress import Progress
from ...sampler.schedule import Schedule
from ..beginnings import Start
from ..blocks import Draws, Trace, of_block, run_blocks
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
    """`draws` results of each of `chains` chains by `config.method`; of fast-em, so many sources share a lens.

    blind-dps begins from noise alone: of the start it takes the source's field and the part of the image.
    """
    schedule = Schedule()
    method = {
        "blind-dps": BlindDPS(problem, prior, schedule, config.blind_dps),
        "fast-em": FastEM(problem, prior, schedule, config.fast_em),
        "bird": Bird(problem, prior, schedule, config.bird),
    }[config.method]
    count = config.fast_em.sources if isinstance(method, FastEM) else 1

    def advance(b: int, nothing: np.ndarray, traces: list[Trace]) -> tuple[np.ndarray, Trace]:
        keys, which = of_block(key, b, chains, len(start.modes.eta))
        eta, x = _runs(method, keys, start.modes.eta[which], count)
        flat = eta.reshape(-1, eta.shape[-1]), x.reshape(-1, *x.shape[2:])
        chi2 = np.asarray(misfits(problem, *flat)).reshape(chains, count)
        a = np.zeros((chains, count, 0), np.float32)
        return nothing, {"eta": np.asarray(eta), "x": np.asarray(x), "a": a, "chi2_per_pixel": chi2}

    traces = run_blocks(store, np.zeros(0), -(-draws // count), advance, progress)
    warning = f"{config.method} is a baseline to compare with: its results are no draws of the joint posterior"
    return Draws.of(traces, draws, {"warnings": [warning]})
