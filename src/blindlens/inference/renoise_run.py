"""The run of `renoise`: from the cold start's Gaussian sources to draws under the prior."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RenoiseConfig
from ..lens.parameters import LogUniform
from ..prior import Denoiser
from ..progress import Progress
from .blocks import Draws, Trace, run_blocks
from .evidence import Evidence
from .initialise import Start, beginnings
from .problem import Problem
from .renoise import Chain, Renoise
from .stages import Store


class Run(NamedTuple):
    """What a sweep hands to the next: the chains, and the noise from which sweeps start."""

    chains: Chain
    first: np.ndarray


def ladder(stage: RenoiseConfig, first: float) -> np.ndarray:
    """The noise levels of a sweep, (levels + 1,)."""
    return np.append(np.geomspace(first, stage.last, stage.levels), stage.end)


def adapted(stage: RenoiseConfig, first: float, explained: np.ndarray) -> float:
    """The next sweep's first noise level; explained: chi2 of E[x | x_t, l, y], (chains, levels).

    Where p(x | x_t) is the Gaussian of its two moments, that mean explains the image at any level. Where the network's
    covariance leaves out what the image demands, it does not, and the level is too high.
    """
    misfit = float(np.median(explained[:, 0] / explained[:, -1]))
    return float(np.clip(first * (0.75 if misfit > 1 + stage.misfit else 1.1), 1.2 * stage.last, stage.first))


def first_chains(keys: Array, full: Evidence, start: Start, problem: Problem) -> Chain:
    """A chain a key where the cold start ended; `problem` may have a free field, which begins as the start's."""
    eta, x, a = beginnings(keys, full, start)
    if "source_fov" in problem.space.names:
        block, _ = problem.space.block("source_fov")
        assert isinstance(block, LogUniform)
        fov = jnp.clip(start.fov, block.low, block.high)  # it was rounded
        eta = jnp.concatenate([eta, jnp.broadcast_to(block.to_normal(fov), (len(keys), 1)).astype(eta.dtype)], 1)
    return Chain(eta, x, a)


def sample(
    key: Array,
    full: Evidence,
    problem: Problem,
    prior: Denoiser,
    start: Start,
    chains: int,
    draws: int,
    stage: RenoiseConfig,
    store: Store,
    progress: Progress,
) -> Draws:
    """`draws` draws of each of `chains` chains.

    full: the cold start's problem with the surrogate's directions. problem: what is sampled; with a free field of the
    source, if that is not given, since what magnifies the source (t, the slope of the mass) else has to magnify the
    pixels of x too, and these move by no more than the noise of a sweep.
    """
    chain_key, run_key = jax.random.split(key)
    keys = jax.vmap(lambda k: jax.random.fold_in(chain_key, k))(jnp.arange(chains))
    # the most informative directions come first, and QR keeps their order
    probes = jnp.asarray(np.linalg.qr(np.asarray(start.informed.basis, np.float64)[:, : stage.rank])[0], jnp.float32)
    sampler = Renoise(problem, prior, probes, stage)

    def advance(b: int, run: Run, traces: list[Trace]) -> tuple[Run, Trace]:
        block_keys = jax.random.split(jax.random.fold_in(run_key, b), chains)
        first, settle = float(run.first), 4 * b < stage.warmup
        sigmas = jnp.asarray(ladder(stage, first), jnp.float32)
        now, info = sampler.run(block_keys, run.chains, sigmas, jnp.asarray(settle))
        if not settle and b < stage.warmup:
            first = adapted(stage, first, np.asarray(info.explained))
        trace = now._asdict() | {"chi2_per_pixel": info.chi2_per_pixel, "first": np.full(chains, first)}
        for name in ("acceptance", "translation_acceptance", "explained"):
            for level, values in enumerate(getattr(info, name).T):
                trace[f"{name}_{level}"] = values
        # a block is a sweep
        return Run(now, np.asarray(first)), {name: np.asarray(t)[:, None] for name, t in trace.items()}

    total = stage.warmup + draws * stage.thin
    begun = Run(first_chains(keys, full, start, problem), np.asarray(stage.first))
    traces = run_blocks(store, begun, total, advance, progress)
    extra = {"rank": probes.shape[1], "levels": ladder(stage, float(traces[-1]["first"][0, 0])).tolist()}
    return Draws.of(traces[stage.warmup + stage.thin - 1 :: stage.thin], draws, extra)
