"""The run of `renoise`: from the cold start's Gaussian sources to draws under the prior."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RenoiseConfig
from ..prior import Denoiser
from ..progress import Progress
from .blocks import Draws, Trace, run_blocks
from .evidence import Evidence
from .initialise import Start, beginnings
from .renoise import Chain, Renoise
from .stages import Store


def sample(
    key: Array,
    full: Evidence,
    prior: Denoiser,
    start: Start,
    chains: int,
    draws: int,
    stage: RenoiseConfig,
    store: Store,
    progress: Progress,
) -> Draws:
    """`draws` draws of each of `chains` chains; full: the problem with the surrogate's directions."""
    chain_key, run_key = jax.random.split(key)
    keys = jax.vmap(lambda k: jax.random.fold_in(chain_key, k))(jnp.arange(chains))
    # the most informative directions first, whatever the noise level: what they span is what counts
    probes = jnp.asarray(np.linalg.qr(np.asarray(start.informed.basis, np.float64))[0], jnp.float32)
    sampler = Renoise(full.problem, prior, probes, stage)

    def advance(b: int, now: Chain, traces: list[Trace]) -> tuple[Chain, Trace]:
        block_keys = jax.random.split(jax.random.fold_in(run_key, b), chains)
        now, info = sampler.run(block_keys, now, jnp.asarray(4 * b < stage.warmup))
        # a block is a sweep
        return now, {name: np.asarray(t)[:, None] for name, t in {**now._asdict(), **info._asdict()}.items()}

    total = stage.warmup + draws * stage.thin
    traces = run_blocks(store, Chain(*beginnings(keys, full, start)), total, advance, progress)
    extra = {"rank": probes.shape[1], "levels": list(stage.levels)}
    return Draws.of(traces[stage.warmup + stage.thin - 1 :: stage.thin], draws, extra)
