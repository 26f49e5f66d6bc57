"""The run of the default joint sampler: warm-up, reference Gaussians fitted to it, draws; blocks are kept on disk."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import SplitGibbsConfig
from ..errors import BlindlensError
from ..prior import Denoiser, GaussianPrior
from ..progress import Progress
from ..sampler.kernels import Mixture
from .evidence import Evidence, sources
from .initialise import Start, laplace_log_weights
from .split_gibbs import Chain, SplitGibbs, SweepInfo, Tuning, gain_bound
from .stages import Store

BLOCK = 8
"""Sweeps between two looks at the clock, and at most this many are lost on Ctrl-C."""


class Draws(NamedTuple):
    """eta (chain, draw, d), x (chain, draw, n, n) model units, light amplitudes a (chain, draw, k); statistics (chain,
    draw) each; extra: plain values worth keeping beside the draws.
    """

    eta: Array
    x: Array
    a: Array
    stats: dict[str, np.ndarray]
    extra: dict[str, Any]


class Run(NamedTuple):
    """What a block of sweeps hands to the next."""

    chains: Chain
    tuning: Tuning
    mixture: Mixture


def first(keys: Array, full: Evidence, start: Start) -> Run:
    """One chain a key, from the modes in turn: lens from the Laplace approximation, source exactly given the lens."""
    modes, K = start.modes, len(keys)
    which = np.arange(K) % len(modes.eta)
    eta = jax.vmap(lambda k, m, f: m + f @ jax.random.normal(k, m.shape))(keys, modes.eta[which], modes.factor[which])
    x, a, _ = sources(full, keys, eta)
    tuning = Tuning(modes.eta[which], modes.factor[which], jnp.full(K, 0.8), jnp.full(K, 0.3))
    return Run(
        Chain(eta, x, jnp.zeros_like(x), a), tuning, Mixture(modes.eta, modes.factor, laplace_log_weights(modes))
    )


def sample(
    key: Array,
    full: Evidence,
    prior: Denoiser,
    gaussian: GaussianPrior,
    start: Start,
    chains: int,
    draws: int,
    stage: SplitGibbsConfig,
    store: Store,
    progress: Progress,
) -> Draws:
    """Split Gibbs with ridge moves on any prior; `gaussian`: the surrogate, or the prior itself if it is Gaussian."""
    chain_key, run_key = jax.random.split(key)
    keys = jax.vmap(lambda k: jax.random.fold_in(chain_key, k))(jnp.arange(chains))
    gain = float(gain_bound(full.problem, start.modes.eta[0], prior.n))
    rho = float(np.sqrt(stage.bias / gain))
    run = first(keys, full, start)
    surrogate = None if prior is gaussian else gaussian
    if surrogate is not None:
        rho = max(rho, stage.least_rho)

    def sampler(mixture: Mixture) -> SplitGibbs:
        directions = start.informed
        return SplitGibbs(full.problem, prior, surrogate, directions.basis, directions.dual, mixture, stage)

    block = stage.thin * max(1, BLOCK // stage.thin)
    warm = -(-stage.warmup // block)
    total = warm + -(-draws * stage.thin // block)
    # a source drawn under the surrogate is no likely draw of another prior: z is let loose at first, then tied to x
    ratio = 1.0 if surrogate is None else max(stage.first_rho / rho, 1.0)
    rhos = rho * ratio ** np.maximum(0.0, 1 - np.arange(total * block) / (warm * block / 2))
    run, traces = resumed(store, jax.tree.map(np.asarray, run))
    with progress.stage("sample", total) as bar:
        bar.advance(len(traces))
        for b in range(len(traces), total):
            if b in (min(warm, max(1, warm // 2)), min(warm, max(2, 3 * warm // 4))):
                # the reference follows what the chains have seen, after half of the warm-up and after three quarters:
                # the rest is for the angle to follow the reference
                run = refit(run, [t[0].eta for t in traces[b // 2 :]])
            now_rhos = jnp.asarray(rhos[b * block : (b + 1) * block], jnp.float32)
            block_keys = jax.random.split(jax.random.fold_in(run_key, b), chains)
            now, tuning, trace = sampler(run.mixture).run(
                block_keys, run.chains, run.tuning, now_rhos, jnp.asarray(b < warm)
            )
            # plain arrays: those that lie spread over devices would have the program compiled anew
            run = run._replace(chains=jax.tree.map(np.asarray, now), tuning=jax.tree.map(np.asarray, tuning))
            traces.append(jax.tree.map(lambda t: np.asarray(t[:, stage.thin - 1 :: stage.thin]), trace))
            keep(store, b, run, traces[-1])
            bar.advance(chi2=float(np.mean(traces[-1][1].chi2_per_pixel)))
    trace, info = jax.tree.map(lambda *t: np.concatenate(t, 1)[:, :draws], *traces[warm:])
    stats = {name: getattr(info, name) for name in info._fields}
    extra = {"rank": start.informed.basis.shape[1], "rho": rho, "rho_bias": rho**2 * gain}
    return Draws(jnp.asarray(trace.eta), jnp.asarray(trace.x + trace.nu), jnp.asarray(trace.a), stats, extra)


def keep(store: Store, b: int, run: Run, trace: tuple[Chain, SweepInfo]) -> None:
    """A block's draws, then the state that goes on from there."""
    chain, info = trace
    arrays = {f"chain.{k}": v for k, v in chain._asdict().items()} | {f"info.{k}": v for k, v in info._asdict().items()}
    store.write(f"block{b}", arrays)
    store.write("chains", {f"leaf{i}": v for i, v in enumerate(jax.tree.leaves(run))}, blocks=b + 1)


def resumed(store: Store, run: Run) -> tuple[Run, list[tuple[Chain, SweepInfo]]]:
    """The state and the blocks of an unfinished run of the same fingerprint, or the given state and no blocks."""
    kept = store.read("chains")
    if kept is None:
        return run, []
    arrays, header = kept
    treedef = jax.tree.structure(run)
    run = jax.tree.unflatten(treedef, [arrays[f"leaf{i}"] for i in range(treedef.num_leaves)])
    traces = []
    for b in range(header["blocks"]):
        part = store.read(f"block{b}")
        if part is None:
            raise BlindlensError(f"a part of the unfinished run in {store.folder} is missing; remove that folder")
        chain = Chain(**{k[6:]: v for k, v in part[0].items() if k.startswith("chain.")})
        traces.append((chain, SweepInfo(**{k[5:]: v for k, v in part[0].items() if k.startswith("info.")})))
    return run, traces


def refit(run: Run, history: list[np.ndarray]) -> Run:
    """Mixture and references fitted to warm-up draws, eta (K, sweeps, d) each.

    The mixture, for jumps, covers all draws. A chain's reference, for Hamiltonian moves, has its own mean and the
    scatter within chains alone: as long as the chains disagree, what lies between them is no guide to a step.
    """
    eta = np.concatenate(history, 1)
    centre, d = eta.mean(1), eta.shape[2]
    which = np.asarray(jax.vmap(run.mixture.nearest)(run.chains.eta))
    around = eta - centre[:, None] + np.asarray(run.mixture.means)[which][:, None]
    within = run.mixture.fitted(jnp.asarray(around.reshape(-1, d)))
    tuning = run.tuning._replace(mean=centre, factor=within.factors[which])
    return jax.tree.map(np.asarray, Run(run.chains, tuning, run.mixture.fitted(jnp.asarray(eta.reshape(-1, d)))))
