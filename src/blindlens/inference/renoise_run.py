"""The run of `renoise`: from the cold start's Gaussian sources to draws under the prior, for one system or several."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RenoiseConfig
from ..errors import BlindlensError
from ..lens.parameters import LogUniform
from ..prior import Denoiser
from ..progress import Progress
from ..sampler.kernels import Mixture
from .beginnings import Start, beginnings, likely_mixture
from .blocks import Draws, Trace, run_blocks
from .evidence import Evidence, grams
from .parallel import stacked
from .problem import Problem
from .renoise import Chain, Renoise, Sweep, SweepInfo
from .stages import Store


class System(NamedTuple):
    """What sampling begins with. full: the cold start's problem with the surrogate's directions. problem: what is
    sampled; with a free field of the source, if that is not given, since what magnifies the source (t, the slope of the
    mass) else has to magnify the pixels of x too, and these move by no more than the noise of a sweep. probes:
    orthonormal directions in which C is looked at, (n*n, k).
    """

    key: Array
    full: Evidence
    problem: Problem
    start: Start
    probes: Array


BATCH = 16
"""Numbers of probes are multiples of it."""


def probes(full: Evidence, start: Start, stage: RenoiseConfig) -> Array:
    """The source's most informed directions at the best mode, orthonormal: the fewest that leave no more than
    `stage.unseen` of chi2 per pixel of the sources that the cold start's Gaussian expects, at most `stage.rank`.
    """
    informed = start.informed
    chi2 = np.diag(np.asarray(grams(full, start.modes.eta[:1])[0], np.float64))
    left = (np.append(np.cumsum(chi2[::-1])[::-1], 0.0) + 2 * informed.tail) / np.count_nonzero(full.problem.weight)
    enough = np.flatnonzero(left <= stage.unseen)
    k = BATCH * -(-int(enough[0]) // BATCH) if len(enough) else len(chi2)
    # QR keeps their order
    basis = np.asarray(informed.basis, np.float64)[:, : max(1, min(k, stage.rank))]
    return jnp.asarray(np.linalg.qr(basis)[0], jnp.float32)


class Run(NamedTuple):
    """What a sweep hands to the next: the chains; their lenses at the end of the warm-up, or now in it, (K, d). By
    system: the noise from which sweeps start, and that in which sources move with their fields, (systems,); the angles
    of the steps of flights, (systems, levels, 2); the sum of the metrics seen so far, (systems, ...), and their number,
    (systems,).
    """

    chains: Chain
    reference: np.ndarray
    first: np.ndarray
    gauge: np.ndarray
    angles: np.ndarray
    metric: np.ndarray
    metrics: np.ndarray


CLEAR = 60.0
"""Signal to noise of a whole source in the noise in which it moves with its field (docs/method.md)."""
FAR = 0.15
"""Share of chi2 above what is allowed at which the first noise level falls by half at once."""


def ladder(stage: RenoiseConfig, first: float) -> np.ndarray:
    """The noise levels of a sweep, (levels + 1,)."""
    return np.append(np.geomspace(first, stage.last, stage.levels), stage.end)


def adapted(stage: RenoiseConfig, first: float, explained: np.ndarray) -> float:
    """The next sweep's first noise level; explained: chi2 of E[x | x_t, l, y], (chains, levels).

    Where p(x | x_t) is the Gaussian of its two moments, that mean explains the image at any level. Where the network's
    covariance leaves out what the image demands, it does not, and the level is too high.
    """
    misfit = float(np.median(explained[:, 0] / explained[:, -1])) - 1 - stage.misfit
    factor = 1.1 if misfit <= 0 else 0.75 if misfit < FAR else 0.5
    return float(np.clip(first * factor, 1.2 * stage.last, stage.first))


def steered(angles: np.ndarray, acceptance: np.ndarray) -> np.ndarray:
    """The next sweep's angles, (...), by acceptance (chains, ...): four flights of five are to end well."""
    return np.clip(angles * np.exp(acceptance.mean(0) - 0.8), 0.02, 0.7)


def first_chains(keys: Array, full: Evidence, start: Start, problem: Problem) -> Chain:
    """A chain a key where the cold start ended; `problem` may have a free field, which begins as the start's."""
    eta, x, a = beginnings(keys, full, start)
    if "source_fov" in problem.space.names:
        block, _ = problem.space.block("source_fov")
        assert isinstance(block, LogUniform)
        fov = jnp.clip(start.fov, block.low, block.high)  # it was rounded
        eta = jnp.concatenate([eta, jnp.broadcast_to(block.to_normal(fov), (len(keys), 1)).astype(eta.dtype)], 1)
    return Chain(eta, x, a)


class Group(NamedTuple):
    """Systems that one program samples: problems, probes and modes stacked; which: each chain's system, (K,); keys: by
    system; begin: the chains.
    """

    problem: Problem
    probes: Array
    modes: Mixture
    which: np.ndarray
    keys: list[Array]
    begin: Chain

    @staticmethod
    def of(systems: Sequence[System], chains: int, stage: RenoiseConfig) -> "Group":
        """BlindlensError for systems that one program cannot serve."""
        begun, run_keys, modes = [], [], []
        for system in systems:
            chain_key, run_key = jax.random.split(system.key)
            run_keys.append(run_key)
            keys = jax.vmap(lambda k, key=chain_key: jax.random.fold_in(key, k))(jnp.arange(chains))
            begun.append(first_chains(keys, system.full, system.start, system.problem))
            modes.append(likely_mixture(system.start.modes))
        try:
            problem = stacked([system.problem for system in systems])
            probes = stacked([system.probes for system in systems])
            mixtures = stacked(modes)
        except ValueError:
            raise BlindlensError("these systems differ in more than their data; sample them one by one") from None
        together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *begun)
        return Group(problem, probes, mixtures, np.repeat(np.arange(len(systems)), chains), run_keys, together)

    def block_keys(self, b: int) -> Array:
        """A key for each chain's sweep number b; a system's do not depend on the others."""
        chains = len(self.which) // len(self.keys)
        return jnp.concatenate([jax.random.split(jax.random.fold_in(key, b), chains) for key in self.keys])

    def by_system(self, values: Array | np.ndarray) -> np.ndarray:
        """(K, ...) to (systems, chains, ...)."""
        v, count = np.asarray(values), len(self.keys)
        return v.reshape(count, len(self.which) // count, *v.shape[1:])

    def begun(self, stage: RenoiseConfig) -> Run:
        """What the first sweep begins from."""
        count, d = len(self.keys), self.begin.eta.shape[1]
        # the first sweep settles, and flies with what it finds
        metric = np.zeros((count, stage.levels, d, d))
        angles = np.tile([stage.angle, stage.lens_angle], (count, stage.levels, 1))
        first, gauge = np.full(count, stage.first), np.full(count, stage.last)
        return Run(self.begin, np.asarray(self.begin.eta), first, gauge, angles, metric, np.ones(count))

    def draws(self, kept: Sequence[Trace], draws: int, extra: Callable[[Trace], dict[str, Any]]) -> list[Draws]:
        """Each system's. extra: plain values, from its last trace."""
        out = []
        for s in range(len(self.keys)):
            mine = [{name: self.by_system(values)[s] for name, values in trace.items()} for trace in kept]
            out.append(Draws.of(mine, draws, {"rank": self.probes.shape[2], **extra(mine[-1])}))
        return out


def swept(sampler: Renoise, group: Group, b: int, run: Run) -> tuple[Run, SweepInfo]:
    """Sweep number b of all chains; the warm-up adapts.

    What the chains of a system saw of its metric is averaged, before the second half of the warm-up by halves: no
    chain's own place decides, and where lenses differ in how well they are known the best known sets the units.
    """
    stage, which, angles, metric = sampler.stage, group.which, run.angles, run.metric
    first, gauge = run.first, np.minimum(run.gauge, run.first)
    settle, adapt = 4 * b < stage.warmup, b < stage.warmup
    sigmas = np.array([ladder(stage, level) for level in first])
    mean = (metric.T / run.metrics).T
    sizes = (jnp.asarray(leaf, jnp.float32) for leaf in (sigmas, gauge, angles, mean))
    how = Sweep(*sizes, jnp.asarray(run.reference), jnp.asarray(settle), jnp.asarray(adapt))
    now, info = sampler.run(group.block_keys(b), run.chains, jnp.asarray(which), how)
    metrics, reference = run.metrics, run.reference
    if adapt:
        reference = np.asarray(now.eta)
        light = np.linalg.norm(np.asarray(now.x - group.problem.sky).reshape(len(which), -1), axis=1)
        gauge = np.maximum(np.median(group.by_system(light), 1) / CLEAR, stage.last)
        angles = np.array(list(map(steered, angles, group.by_system(info.acceptance))))
        # where chains came from is forgotten
        kept = 0.0 if settle else 0.5 if 2 * b < stage.warmup else 1.0
        metric = kept * metric + group.by_system(info.metric).mean(1, np.float64)
        metrics = kept * metrics + 1
    if adapt and not settle:
        explained = group.by_system(info.explained)
        first = np.array([adapted(stage, level, of) for level, of in zip(first, explained, strict=True)])
    return Run(now, reference, first, gauge, angles, metric, metrics), info


def gauge_stats(acceptance: Array) -> dict[str, Array]:
    """What `regauged` tells, (K, 1 or 2), by name."""
    return dict(zip(("translation_acceptance", "growth_acceptance"), acceptance.T, strict=False))


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
    group = Group.of(systems, chains, stage)
    sampler = Renoise(group.problem, prior, group.probes, group.modes, stage)

    def advance(b: int, run: Run, traces: list[Trace]) -> tuple[Run, Trace]:
        run, info = swept(sampler, group, b, run)
        now = run.chains
        trace = {"eta": now.eta, "x": now.x, "a": now.a, "chi2_per_pixel": info.chi2_per_pixel}
        trace |= {
            "first": run.first[group.which],
            "gauge": run.gauge[group.which],
            **gauge_stats(info.gauge_acceptance),
        }
        angles = run.angles[group.which]
        for level in range(stage.levels):
            seen = {"explained": info.explained[:, level]}
            if level == 0:
                seen["jump_acceptance"] = info.jump_acceptance[:, level]
            for i, what in enumerate(("", "lens_")):
                seen |= {f"{what}acceptance": info.acceptance[:, level, i], f"{what}angle": angles[:, level, i]}
            trace |= {f"{name}_{level}": values for name, values in seen.items()}
        # a block is a sweep
        return run, {name: np.asarray(t)[:, None] for name, t in trace.items()}

    traces = run_blocks(store, group.begun(stage), stage.warmup + draws * stage.thin, advance, progress)
    kept = traces[stage.warmup + stage.thin - 1 :: stage.thin]
    return group.draws(kept, draws, lambda last: {"levels": ladder(stage, float(last["first"][0, 0])).tolist()})
