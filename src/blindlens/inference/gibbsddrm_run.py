"""The run of the paper's joint sampler: every draw a reverse diffusion of its own, from the modes in turn."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import GibbsDDRMConfig
from ..prior import Denoiser
from ..progress import Progress
from ..sampler.schedule import Schedule
from .beginnings import Start
from .blocks import Draws, Trace, of_block, run_blocks
from .gibbsddrm import GibbsDDRM
from .marginal import marginal, variances
from .problem import Problem
from .refine import gibbs_end
from .source import Redraw, misfits
from .stages import Store


def sampler(problem: Problem, prior: Denoiser, start: Start, stage: GibbsDDRMConfig) -> GibbsDDRM:
    """The sampler with the directions of the source that the data inform."""
    rank = stage.rank if stage.covariance == "network" else 0
    basis = np.asarray(start.informed.basis, np.float64)[:, :rank]
    probes = jnp.asarray(np.linalg.qr(basis)[0] if rank else basis, jnp.float32)
    return GibbsDDRM(problem, prior, probes, Schedule(), stage)


def trace(problem: Problem, eta: Array, x: Array, stats: dict[str, Array]) -> Trace:
    """A block's draws, eta (K, S, d) with one source x (K, n, n) each, and statistics (K,)."""
    K, S, d = eta.shape

    def repeated(values: Array) -> np.ndarray:
        return np.repeat(np.asarray(values)[:, None], S, 1)

    sources = repeated(x)
    chi2 = misfits(problem, eta.reshape(-1, d), jnp.asarray(sources.reshape(-1, *x.shape[1:])))
    arrays = {"eta": np.asarray(eta), "x": sources, "a": np.zeros((K, S, 0), np.float32)}
    return {**arrays, "chi2_per_pixel": np.asarray(chi2).reshape(K, S), **{k: repeated(v) for k, v in stats.items()}}


def sample(
    key: Array,
    problem: Problem,
    prior: Denoiser,
    start: Start,
    chains: int,
    draws: int,
    stage: GibbsDDRMConfig,
    store: Store,
    progress: Progress,
) -> Draws:
    """`draws` draws of each of `chains` chains, all independent of one another given the start.

    Of a joint draw whose Gibbs sweep keeps several lenses, each is a draw with the same source.
    """
    method = sampler(problem, prior, start, stage)
    a = jnp.zeros((chains, 0), problem.y.dtype)
    redraw = Redraw(problem, prior, method.schedule, stage.redraw)

    def advance(b: int, nothing: np.ndarray, traces: list[Trace]) -> tuple[np.ndarray, Trace]:
        keys, which = of_block(key, b, chains, len(start.modes.eta))
        walk_keys, end_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        drawn = method.run(walk_keys, start.modes.eta[which])
        if not drawn.finite.all():
            progress.say("note: the Langevin walk met gradients that are not finite; they were left out")
        stats = {"refused": drawn.refused, "residual": drawn.residual}
        if not stage.end:
            return nothing, trace(problem, drawn.eta[:, None], drawn.x, stats)
        x, lenses = gibbs_end(end_keys, problem, drawn.eta, drawn.x, a, redraw, stage.refine, stage.redraw.batch)
        stats["divergent"] = jnp.mean(lenses.divergent, 1)
        return nothing, trace(problem, lenses.eta, x, stats)

    each = stage.refine.samples if stage.end else 1
    traces = run_blocks(store, np.zeros(0), -(-draws // each), advance, progress)
    joint = Draws.of(traces, draws, {"window": list(stage.window)})
    if not (stage.end and stage.refine.marginal):
        return joint
    # a source each, whatever lenses it has
    eta, x = (t[:, ::each].reshape(-1, *t.shape[2:]) for t in (joint.eta, joint.x))
    keys = jax.random.split(jax.random.fold_in(key, draws), len(eta))
    with progress.stage("marginal", 1) as bar:
        _, lenses = marginal(keys, problem, eta, x, jnp.zeros((len(eta), 0), x.dtype), stage.refine)
        bar.advance()
    parts = {name: v._asdict() for name, v in variances(problem.space, lenses.eta).items()}
    return joint._replace(marginal=lenses.eta, extra={**joint.extra, "variances": parts})
