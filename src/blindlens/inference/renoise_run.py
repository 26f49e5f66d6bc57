"""The run of `renoise`: from the cold start's Gaussian sources to draws under the prior, for one system or several."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RenoiseConfig
from ..errors import BlindlensError
from ..lens.parameters import LogUniform
from ..prior import Denoiser
from ..progress import Progress
from .beginnings import Start, beginnings
from .blocks import Draws, Trace, run_blocks
from .evidence import Evidence
from .parallel import stacked
from .problem import Problem
from .renoise import Chain, Renoise, Sweep
from .stages import Store


class System(NamedTuple):
    """What sampling begins with. full: the cold start's problem with the surrogate's directions. problem: what is
    sampled; with a free field of the source, if that is not given, since what magnifies the source (t, the slope of the
    mass) else has to magnify the pixels of x too, and these move by no more than the noise of a sweep.
    """

    key: Array
    full: Evidence
    problem: Problem
    start: Start


class Run(NamedTuple):
    """What a sweep hands to the next: the chains, and by system the noise from which sweeps start, (systems,), and the
    angle of a flight's steps, (systems, levels).
    """

    chains: Chain
    first: np.ndarray
    angles: np.ndarray


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


def steered(angles: np.ndarray, acceptance: np.ndarray) -> np.ndarray:
    """The next sweep's angles, (levels,), by acceptance (chains, levels): four flights of five are to end well."""
    return np.clip(angles * np.exp(acceptance.mean(0) - 0.8), 0.02, 0.7)


def first_chains(keys: Array, full: Evidence, start: Start, problem: Problem, levels: int) -> Chain:
    """A chain a key where the cold start ended; `problem` may have a free field, which begins as the start's."""
    eta, x, a = beginnings(keys, full, start)
    if "source_fov" in problem.space.names:
        block, _ = problem.space.block("source_fov")
        assert isinstance(block, LogUniform)
        fov = jnp.clip(start.fov, block.low, block.high)  # it was rounded
        eta = jnp.concatenate([eta, jnp.broadcast_to(block.to_normal(fov), (len(keys), 1)).astype(eta.dtype)], 1)
    d = eta.shape[1]
    return Chain(eta, x, a, jnp.broadcast_to(jnp.eye(d, dtype=eta.dtype), (len(keys), levels, d, d)))


def sample(
    systems: Sequence[System],
    prior: Denoiser,
    chains: int,
    draws: int,
    stage: RenoiseConfig,
    store: Store,
    progress: Progress,
) -> list[Draws]:
    """`draws` draws of each of `chains` chains of each system.

    A system's random numbers do not depend on the others. BlindlensError for systems that one program cannot serve.
    """
    begun, run_keys, probes = [], [], []
    for system in systems:
        chain_key, run_key = jax.random.split(system.key)
        run_keys.append(run_key)
        keys = jax.vmap(lambda k, key=chain_key: jax.random.fold_in(key, k))(jnp.arange(chains))
        begun.append(first_chains(keys, system.full, system.start, system.problem, stage.levels))
        # the most informative directions come first, and QR keeps their order
        basis = np.asarray(system.start.informed.basis, np.float64)[:, : stage.rank]
        probes.append(jnp.asarray(np.linalg.qr(basis)[0], jnp.float32))
    try:
        sampler = Renoise(stacked([system.problem for system in systems]), prior, stacked(probes), stage)
    except ValueError:
        raise BlindlensError("these systems differ in more than their data; sample them one by one") from None
    which = np.repeat(np.arange(len(systems)), chains)

    def advance(b: int, run: Run, traces: list[Trace]) -> tuple[Run, Trace]:
        block_keys = jnp.concatenate([jax.random.split(jax.random.fold_in(key, b), chains) for key in run_keys])
        first, angles = np.array(run.first, float), np.array(run.angles, float)
        settle, adapt = 4 * b < stage.warmup, b < stage.warmup
        sigmas = np.array([ladder(stage, level) for level in first], np.float32)[which]
        how = Sweep(*map(jnp.asarray, (sigmas, angles.astype(np.float32)[which], settle, adapt)))
        now, info = sampler.run(block_keys, run.chains, jnp.asarray(which), how)
        if adapt:
            accepted = np.asarray(info.acceptance)
            angles = np.array([steered(angle, accepted[which == s]) for s, angle in enumerate(angles)])
        if adapt and not settle:
            explained = np.asarray(info.explained)
            first = np.array([adapted(stage, level, explained[which == s]) for s, level in enumerate(first)])
        trace = {"eta": now.eta, "x": now.x, "a": now.a, "chi2_per_pixel": info.chi2_per_pixel, "first": first[which]}
        for name in ("acceptance", "translation_acceptance", "explained"):
            for level, values in enumerate(getattr(info, name).T):
                trace[f"{name}_{level}"] = values
        for level, values in enumerate(angles[which].T):
            trace[f"angle_{level}"] = values
        # a block is a sweep
        return Run(now, first, angles), {name: np.asarray(t)[:, None] for name, t in trace.items()}

    total = stage.warmup + draws * stage.thin
    together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *begun)
    begin = Run(together, np.full(len(systems), stage.first), np.full((len(systems), stage.levels), stage.angle))
    traces = run_blocks(store, begin, total, advance, progress)
    kept = traces[stage.warmup + stage.thin - 1 :: stage.thin]
    out = []
    for s in range(len(systems)):
        mine = [{name: values[which == s] for name, values in trace.items()} for trace in kept]
        levels = ladder(stage, float(mine[-1]["first"][0, 0])).tolist()
        out.append(Draws.of(mine, draws, {"rank": probes[s].shape[1], "levels": levels}))
    return out
