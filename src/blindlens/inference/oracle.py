"""The exact lens posterior under a Gaussian prior: `--method evidence`, and what every other sampler is held against.

The source is integrated out, so that 12 numbers remain; they are sampled by sequential Monte Carlo from a mixture that
covers every mode found (Del Moral et al. 2006), which gives the modes their weights whatever lies between them, and
moved by NUTS (Hoffman & Gelman 2014) and along differences of particles (ter Braak 2006) afterwards.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..prior import GaussianPrior
from ..progress import Progress
from ..sampler.kernels import Mixture, State, differential
from .beginnings import Start
from .blocks import Draws
from .evidence import Evidence, Mode, log_posterior, sources
from .initialise import translates
from .parallel import spread
from .source import misfits
from .split_gibbs import translate

WIDER, COMPONENTS, REACH, CHEAP = 1.5, 16, 2, 12
"""The first particles scatter by WIDER Laplace standard deviations round COMPONENTS centres: the modes, and the modes
with the source's field moved by up to REACH of its pixels. What no particle reaches at first is lost, and posteriors
bend, and have modes a source pixel apart that no ascent from the others finds. CHEAP: steps of one evidence each that
follow a NUTS step."""


class OracleStats(NamedTuple):
    """log_posterior (P,); acceptance of NUTS and of the steps along differences; rungs of the tempering.

    log_evidence: log p(y) without its constant -N/2 log(2 pi).
    """

    log_posterior: Array
    acceptance: Array
    differential_acceptance: Array
    rungs: Array
    log_evidence: Array


@eqx.filter_jit
def sample_lens(
    key: Array, evidence: Evidence, mixture: Mixture, particles: int, moves: int
) -> tuple[Array, OracleStats]:
    """eta (P, d) ~ p(l | y): SMC from the mixture, then `moves` rounds of a NUTS step and CHEAP other steps."""
    smc_key, move_key = jax.random.split(key)
    weights = jax.nn.softmax(mixture.log_weights)
    metric = jnp.einsum("k,kij,klj->il", weights, mixture.factors, mixture.factors) / WIDER**2
    eta, rungs, log_evidence = temper(smc_key, evidence, mixture, metric, particles)

    def round(eta: Array, key: Array):
        leap_key, cheap_key = jax.random.split(key)
        states, acceptance = leap(leap_key, evidence, metric, eta)
        states, rate = jax.lax.scan(
            lambda states, key: shuffle(key, evidence, states), states, jax.random.split(cheap_key, CHEAP)
        )
        return states.position, (states.logdensity, acceptance, jnp.mean(rate))

    eta, (values, acceptance, rate) = jax.lax.scan(round, eta, jax.random.split(move_key, moves))
    return eta, OracleStats(values[-1], jnp.mean(acceptance), jnp.mean(rate), rungs, log_evidence)


def temper(
    key: Array, evidence: Evidence, mixture: Mixture, metric: Array, particles: int
) -> tuple[Array, Array, Array]:
    """SMC along q^(1-b) p^b from the mixture q: eta (P, d), the number of rungs, log p(y).

    The next b at most halves the effective sample size; every rung moves by Hamiltonian Monte Carlo.
    """
    import blackjax.smc.resampling  # here, as importing it starts JAX, after which devices cannot be chosen

    start_key, smc_key, pick_key = jax.random.split(key, 3)
    eta = jax.vmap(mixture.sample)(jax.random.split(start_key, particles))

    def log_ratio(eta: Array) -> Array:
        value = evidence.log_posterior(eta) - mixture.log_density(eta)
        return jnp.where(jnp.isfinite(value), value, -1e30)

    smc: Any = blackjax.adaptive_tempered_smc(
        mixture.log_density,
        log_ratio,
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        {
            "step_size": jnp.full(1, 0.5),
            "inverse_mass_matrix": metric[None],
            "num_integration_steps": jnp.full(1, 3),
        },
        blackjax.smc.resampling.systematic,
        target_ess=0.5,
        num_mcmc_steps=1,
        batch_size=1,
    )

    def unfinished(carry):
        state, _, rungs, _ = carry
        return (state.tempering_param < 1) & (rungs < 100)

    def rung(carry):
        state, key, rungs, log_z = carry
        key, step_key = jax.random.split(key)
        state, info = smc.step(step_key, state)
        return state, key, rungs + 1, log_z + info.log_likelihood_increment

    zero = jnp.zeros((), eta.dtype)
    state = smc.init(eta)._replace(tempering_param=zero)
    state, _, rungs, log_z = jax.lax.while_loop(unfinished, rung, (state, smc_key, jnp.asarray(0), zero))
    chosen = blackjax.smc.resampling.systematic(pick_key, state.weights, particles)
    return state.particles[chosen], rungs, log_z - eta.shape[1] / 2 * jnp.log(2 * jnp.pi)


def leap(key: Array, evidence: Evidence, metric: Array, eta: Array) -> tuple[State, Array]:
    """A NUTS step of every particle (P, d), and the mean acceptance."""
    import blackjax

    def one(shared, item):
        kernel: Any = blackjax.nuts(shared[0].log_posterior, 0.4, shared[1], max_num_doublings=3)
        state, info = kernel.step(item[0], kernel.init(item[1]))
        return State(state.position, state.logdensity), info.acceptance_rate

    states, acceptance = spread(one, (evidence, metric), (jax.random.split(key, len(eta)), eta))
    return states, jnp.mean(acceptance)


def shuffle(key: Array, evidence: Evidence, states: State) -> tuple[State, Array]:
    """Both halves of the particles in turn move along differences of the other, and then by source pixels."""

    def moved(key: Array, states: State, others: Array):
        def one(shared, item):
            evidence, others = shared
            keys, state = jax.random.split(item[0]), item[1]
            state, info = differential(keys[0], state, evidence.log_posterior, others)
            return translate(keys[1], state, evidence)[0], info.acceptance

        items = (jax.random.split(key, len(states.position)), states)
        return spread(one, (evidence, others), items)

    middle = len(states.position) // 2
    first, second = jax.tree.map(lambda t: t[:middle], states), jax.tree.map(lambda t: t[middle:], states)
    keys = jax.random.split(key)
    first, one = moved(keys[0], first, second.position)
    second, two = moved(keys[1], second, first.position)
    return jax.tree.map(lambda *t: jnp.concatenate(t), first, second), jnp.mean(jnp.concatenate([one, two]))


def covering(full: Evidence, modes: Mode) -> Mixture:
    """The modes and their translates by whole source pixels: where SMC starts from. Always COMPONENTS of them.

    Weights go with the square root of the posterior: a centre is a pixel away from the top it stands for.
    """
    which, eta = translates(full.problem, modes.eta, REACH)
    value = jnp.stack([log_posterior(full, e) for e in eta])
    best = jnp.argsort(-jnp.where(jnp.isfinite(value), value, -jnp.inf))[:COMPONENTS]
    eta, factors, value = eta[best], WIDER * modes.factor[which[best]], value[best]
    log_det = jnp.sum(jnp.log(jnp.diagonal(factors, axis1=1, axis2=2)), 1)
    weights = jax.nn.log_softmax(value / 2 + log_det)
    return Mixture(eta, factors, weights).padded(COMPONENTS)


def sample(
    key: Array,
    full: Evidence,
    prior: GaussianPrior,
    start: Start,
    chains: int,
    draws: int,
    moves: int,
    progress: Progress,
) -> Draws:
    """Exact joint draws under a Gaussian prior: chains x draws particles in random order, the source given the lens.

    What the informed directions leave out of the source is drawn from the prior.
    """
    lens_key, source_key, order_key, rest_key = jax.random.split(key, 4)
    mixture = covering(full, start.modes)
    wanted = chains * draws
    with progress.stage("sample", 2) as bar:
        # a few more than asked for where so few could not find their way
        eta, stats = sample_lens(lens_key, full, mixture, max(wanted, 32), moves)
        eta = jax.block_until_ready(eta)
        bar.advance()
        order = jax.random.permutation(order_key, len(eta))[:wanted]
        eta = eta[order]
        x, a = sources(full, jax.random.split(source_key, len(eta)), eta)
        x = x + start.informed.rest(rest_key, prior, len(eta))
        chi2 = misfits(full.problem, eta, x, a)
        bar.advance(chi2=float(jnp.mean(chi2)))

    def grid(t: Array) -> Array:
        return t.reshape(chains, draws, *t.shape[1:])

    figures = {
        "log_posterior": grid(stats.log_posterior[order]),
        "chi2_per_pixel": grid(chi2),
    }
    extra = {"rank": full.basis.shape[1], "log_evidence": float(stats.log_evidence), "rungs": int(stats.rungs)}
    extra |= {name: float(getattr(stats, name)) for name in ("acceptance", "differential_acceptance")}
    return Draws(grid(eta), grid(x), grid(a), {k: np.asarray(v) for k, v in figures.items()}, extra)
