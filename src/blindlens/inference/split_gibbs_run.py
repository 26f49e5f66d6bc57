"""The run of split Gibbs: warm-up, reference Gaussians fitted to it, draws."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import SplitGibbsConfig
from ..errors import BlindlensError
from ..prior import GaussianPrior
from ..progress import Progress
from ..sampler.kernels import Mixture
from ..sampler.reference import fitted_to_gradients
from .beginnings import Start, beginnings, begun, laplace_log_weights
from .blocks import Draws, Trace, run_blocks
from .evidence import Evidence
from .split_gibbs import Chain, SplitGibbs, Tuning, gain_bound
from .stages import Store

BLOCK = 8
"""Sweeps between two looks at the clock, and at most this many are lost on Ctrl-C."""


class Run(NamedTuple):
    """What a block of sweeps hands to the next."""

    chains: Chain
    tuning: Tuning
    mixture: Mixture


def first(keys: Array, full: Evidence, start: Start) -> Run:
    """One chain a key, from the likely modes in turn."""
    modes, K = start.modes, len(keys)
    which = begun(modes, K)
    eta, x, a = beginnings(keys, full, start)
    tuning = Tuning(modes.eta[which], modes.factor[which], jnp.full(K, 0.8))
    return Run(
        Chain(eta, x, jnp.zeros_like(x), a), tuning, Mixture(modes.eta, modes.factor, laplace_log_weights(modes))
    )


def sample(
    key: Array,
    full: Evidence,
    prior: GaussianPrior,
    start: Start,
    chains: int,
    draws: int,
    stage: SplitGibbsConfig,
    store: Store,
    progress: Progress,
) -> Draws:
    """`draws` draws of each of `chains` chains. BlindlensError where the lens shows nothing of the source."""
    chain_key, run_key = jax.random.split(key)
    keys = jax.vmap(lambda k: jax.random.fold_in(chain_key, k))(jnp.arange(chains))
    gain = float(gain_bound(full.problem, start.modes.eta[0], prior.n))
    if not gain > 0:
        raise BlindlensError(
            "no pixel of the image sees a source behind the lens that was found; check the image, or give --init FILE"
        )
    rho = float(np.sqrt(stage.bias / gain))
    block = stage.thin * max(1, BLOCK // stage.thin)
    warm = -(-stage.warmup // block)
    total = warm + -(-draws * stage.thin // block)
    rhos = jnp.full(block, rho, jnp.float32)

    def advance(b: int, run: Run, traces: list[Trace]) -> tuple[Run, Trace]:
        if 0 < b < max(warm, 2):
            # the reference follows what the chains have seen; the last of the warm-up is for the angle to follow it
            run = refit(run, traces[b // 2 :])
        directions = start.informed
        sampler = SplitGibbs(full.problem, prior, directions.basis, directions.dual, run.mixture, stage)
        block_keys = jax.random.split(jax.random.fold_in(run_key, b), chains)
        now, tuning, trace = sampler.run(block_keys, run.chains, run.tuning, rhos, jnp.asarray(b < warm))
        if b < warm:
            # one angle for all: what a chain learns in a block is little
            tuning = tuning._replace(angle=jnp.full_like(tuning.angle, jnp.exp(jnp.mean(jnp.log(tuning.angle)))))
        chain, turn, info = jax.tree.map(lambda t: np.asarray(t[:, stage.thin - 1 :: stage.thin]), trace)
        kept = {"eta": chain.eta, "x": chain.x + chain.nu, "a": chain.a, **info._asdict()}
        if b < warm:
            kept |= {"end": turn.end, "gradient": turn.gradient}
        return run._replace(chains=now, tuning=tuning), kept

    traces = run_blocks(store, first(keys, full, start), total, advance, progress)
    extra = {"rank": start.informed.basis.shape[1], "rho": rho, "rho_bias": rho**2 * gain}
    return Draws.of(traces[warm:], draws, extra)


def refit(run: Run, history: list[Trace]) -> Run:
    """References and mixture fitted to what the warm-up's moves have seen.

    A component's reference, for Hamiltonian moves, is fitted to where these moves ended and to the gradients there,
    within 3 standard deviations per root dimension of the component. The mixture, for jumps, starts from the references
    and takes the draws' covariances on top.
    """
    seen = {name: np.concatenate([t[name] for t in history], 1) for name in ("eta", "end", "gradient", "acceptance")}
    d = seen["eta"].shape[2]
    eta, end, gradient = (seen[name].reshape(-1, d) for name in ("eta", "end", "gradient"))
    which = np.asarray(jax.vmap(run.mixture.nearest)(run.chains.eta))
    mean, factor = np.array(run.tuning.mean), np.array(run.tuning.factor)
    means, factors = np.array(run.mixture.means), np.array(run.mixture.factors)
    for k in np.unique(which):
        z = np.linalg.solve(factors[k].astype(np.float64), (end - means[k]).T)
        weight = seen["acceptance"].ravel() * (np.sum(z**2, 0) < 9 * d)
        of = np.flatnonzero(which == k)
        means[k], factors[k] = fitted_to_gradients(end, gradient, weight, mean[of[0]], factor[of[0]], d)
        mean[of], factor[of] = means[k], factors[k]
    tuning = run.tuning._replace(mean=mean, factor=factor)
    mixture = run.mixture._replace(means=jnp.asarray(means), factors=jnp.asarray(factors)).fitted(jnp.asarray(eta))
    return jax.tree.map(np.asarray, Run(run.chains, tuning, mixture))
