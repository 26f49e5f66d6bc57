"""The exact lens posterior under a Gaussian prior: `--method evidence`, and what every other sampler is held against.

The source is integrated out, so that 12 numbers remain; they are sampled by sequential Monte Carlo from a mixture that
covers every mode found (Del Moral et al. 2006), which gives the modes their weights whatever lies between them, and
moved by NUTS (Hoffman & Gelman 2014) afterwards.
"""

from typing import NamedTuple

import blackjax
import blackjax.smc.resampling
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..progress import Progress
from ..sampler.kernels import Mixture
from .evidence import Evidence
from .initialise import Start, laplace_log_weights
from .joint import Draws


class OracleStats(NamedTuple):
    """log_posterior (P,), acceptance of the last NUTS step (P,), rungs of the tempering.

    log_evidence: log p(y) without its constant -N/2 log(2 pi).
    """

    log_posterior: Array
    acceptance: Array
    rungs: Array
    log_evidence: Array


@eqx.filter_jit
def sample_lens(
    key: Array, evidence: Evidence, mixture: Mixture, particles: int, moves: int, batch: int = 1
) -> tuple[Array, OracleStats]:
    """eta (P, d) ~ p(l | y): SMC along q^(1-b) p^b from the mixture q, then `moves` NUTS steps of every particle.

    mixture: the Laplace approximations of all modes, with heavy tails. The next b at most halves the effective sample
    size. The metric of all kernels is the modes' mean covariance. batch: particles computed at once.
    """
    d = mixture.means.shape[1]
    start_key, smc_key, pick_key, move_key = jax.random.split(key, 4)
    eta = jax.vmap(mixture.sample)(jax.random.split(start_key, particles))

    def log_ratio(eta: Array) -> Array:
        value = evidence.log_posterior(eta) - mixture.log_density(eta)
        return jnp.where(jnp.isfinite(value), value, -1e30)

    weights = jax.nn.softmax(mixture.log_weights)
    within = jnp.einsum("k,kij,klj->il", weights, mixture.factors, mixture.factors)

    smc = blackjax.adaptive_tempered_smc(
        mixture.log_density,
        log_ratio,
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        {
            "step_size": jnp.full(1, 0.5),
            "inverse_mass_matrix": within[None],
            "num_integration_steps": jnp.full(1, 3),
        },
        blackjax.smc.resampling.systematic,
        target_ess=0.5,
        num_mcmc_steps=1,
        batch_size=batch,
    )

    def unfinished(carry):
        state, _, rungs, _ = carry
        return (state.tempering_param < 1) & (rungs < 100)

    def temper(carry):
        state, key, rungs, log_z = carry
        key, step_key = jax.random.split(key)
        state, info = smc.step(step_key, state)
        return state, key, rungs + 1, log_z + info.log_likelihood_increment

    zero = jnp.zeros((), eta.dtype)
    state = smc.init(eta)._replace(tempering_param=zero)
    state, _, rungs, log_z = jax.lax.while_loop(unfinished, temper, (state, smc_key, 0, zero))
    chosen = blackjax.smc.resampling.systematic(pick_key, state.weights, particles)
    eta = state.particles[chosen]

    kernel = blackjax.nuts(evidence.log_posterior, 0.6, within, max_num_doublings=3)

    def move(args):
        key, eta = args
        state, info = jax.lax.scan(lambda s, k: kernel.step(k, s), kernel.init(eta), jax.random.split(key, moves))
        return state.position, state.logdensity, info.acceptance_rate[-1]

    eta, log_posterior, acceptance = jax.lax.map(move, (jax.random.split(move_key, particles), eta), batch_size=batch)
    log_prior_constant = -d / 2 * jnp.log(2 * jnp.pi)
    return eta, OracleStats(log_posterior, acceptance, rungs, log_z + log_prior_constant)


def sample(key: Array, full: Evidence, start: Start, chains: int, draws: int, moves: int, progress: Progress) -> Draws:
    """Exact joint draws under a Gaussian prior: chains x draws particles in random order, the source given the lens."""
    modes = start.modes
    lens_key, source_key, order_key = jax.random.split(key, 3)
    mixture = Mixture(modes.eta, modes.factor, laplace_log_weights(modes))
    with progress.stage("sample", 2) as bar:
        eta, stats = sample_lens(lens_key, full, mixture, chains * draws, moves)
        eta = jax.block_until_ready(eta)
        bar.advance()
        order = jax.random.permutation(order_key, len(eta))
        eta = eta[order]

        @eqx.filter_jit
        def sources(full, keys, eta):
            def one(args):
                x, a = full.source(*args)
                return x, a, full.problem.chi2(args[1], x, a)

            return jax.lax.map(one, (keys, eta))

        x, a, chi2 = sources(full, jax.random.split(source_key, len(eta)), eta)
        bar.advance(chi2=float(jnp.mean(chi2)))

    def grid(t: Array) -> Array:
        return t.reshape(chains, draws, *t.shape[1:])

    figures = {
        "log_posterior": grid(stats.log_posterior[order]),
        "acceptance": grid(stats.acceptance[order]),
        "chi2_per_pixel": grid(chi2),
    }
    extra = {"rank": full.basis.shape[1], "log_evidence": float(stats.log_evidence), "rungs": int(stats.rungs)}
    return Draws(grid(eta), grid(x), grid(a), {k: np.asarray(v) for k, v in figures.items()}, extra)
