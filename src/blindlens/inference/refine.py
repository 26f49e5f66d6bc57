"""The end of arXiv:2511.04792 for the lens: NUTS given a source, and one Gibbs sweep of source and lens.

    p(l | y, x) ∝ N(y; f A_l (C x + M) + G_l a, Sigma) p(l),    in normal coordinates, p(l) = N(eta; 0, I)

by the no-U-turn sampler (Hoffman & Gelman 2014), its step size and mass matrix found in a warm-up by windows (Stan's).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..config import RefineConfig
from .parallel import spread
from .problem import Problem


class LensDraws(NamedTuple):
    """S draws of the lens for each of K sources, and how NUTS fared.

    eta: (K, S, d). acceptance: (K, S), mean along the trajectory. divergent: (K, S), whether it was cut off because the
    energy ran away. leapfrogs: (K, S), gradients spent. step, warmup_leapfrogs: (K,), the step size found and the
    gradients it took to find it.
    """

    eta: Array
    acceptance: Array
    divergent: Array
    leapfrogs: Array
    step: Array
    warmup_leapfrogs: Array


def log_conditional(problem: Problem, eta: Array, x: Array, a: Array) -> Array:
    """log p(eta | y, x, a) without its constant: -|residual|^2/2 - |eta|^2/2. eta: (d,), x: (n, n), a: (k,)."""
    return -jnp.sum(problem.residual(eta, x, a) ** 2) / 2 - jnp.sum(eta**2) / 2


def fisher_factor(problem: Problem, eta: Array, x: Array, a: Array) -> Array:
    """W with W W^T = (J^T J + I)^-1, the covariance of a lens whose image changes by J as it does at eta; (d, d)."""
    J = jax.jacfwd(lambda eta: problem.residual(eta, x, a).ravel())(eta)
    lam, U = jnp.linalg.eigh(J.T @ J + jnp.eye(eta.size, dtype=eta.dtype))
    return U * jax.lax.rsqrt(jnp.maximum(lam, 1.0))  # the prior alone gives curvature 1


@eqx.filter_jit
def lens_given_source(
    keys: Array, problem: Problem, eta: Array, x: Array, a: Array, stage: RefineConfig, samples: int
) -> LensDraws:
    """`samples` draws of p(l | y, x_i, a_i) for each i, by a NUTS of its own that starts from eta_i.

    keys: (K,). eta: (K, d). x: (K, n, n), model units. a: (K, k), light amplitudes, held; k = 0 without lens light.
    Draws spread over the devices; each has its own adaptation, and none depends on how many others there are. Side by
    side (`stage.batch`) they are rounded differently, and then agree with those one by one in distribution only.
    """
    import blackjax  # here, as importing it starts JAX, after which devices cannot be chosen

    def one(problem: Problem, item) -> LensDraws:
        key, eta, x, a = item
        warmup_key, sample_key = jax.random.split(key)
        W = fisher_factor(problem, eta, x, a) if stage.precondition else jnp.eye(eta.size, dtype=eta.dtype)

        def lens(zeta: Array) -> Array:
            return eta + W @ zeta

        def log_density(zeta: Array) -> Array:
            return log_conditional(problem, lens(zeta), x, a)

        warmup: Any = blackjax.window_adaptation(
            blackjax.nuts,
            log_density,
            is_mass_matrix_diagonal=stage.mass == "diagonal",
            initial_step_size=stage.step,
            target_acceptance_rate=stage.acceptance,
            adaptation_info_fn=lambda state, info, adaptation: info.num_integration_steps,
            max_num_doublings=stage.depth,
        )
        (state, found), spent = warmup.run(warmup_key, jnp.zeros_like(eta), stage.warmup)
        kernel: Any = blackjax.nuts(log_density, **found)

        def step(state, key):
            state, info = kernel.step(key, state)
            kept = (lens(state.position), info.acceptance_rate, info.is_divergent, info.num_integration_steps)
            return state, kept

        _, kept = jax.lax.scan(step, state, jax.random.split(sample_key, samples))
        return LensDraws(*kept, found["step_size"], jnp.sum(spent))

    return spread(one, problem, (keys, eta, x, a), batch_size=stage.batch)


@eqx.filter_jit
def _redrawn(redraw: Callable[..., Array], keys: Array, eta: Array, a: Array, x: Array, together: int) -> Array:
    return spread(lambda redraw, item: redraw(*item), redraw, (keys, eta, a, x), batch_size=together)


def gibbs_end(
    keys: Array,
    problem: Problem,
    eta: Array,
    x: Array,
    a: Array,
    redraw: Callable[[Array, Array, Array, Array], Array],
    stage: RefineConfig,
    together: int = 1,
) -> tuple[Array, LensDraws]:
    """One Gibbs sweep of every joint draw: x ~ p(x | l, y) by `redraw`, then `stage.samples` lenses ~ p(l | y, x).

    redraw: (key, eta, a, x) -> x of one joint draw, traceable; an equinox module rather than a closure, if it is to be
    compiled once. together: redraws side by side on a device. Other arguments as for `lens_given_source`. Returns the
    new sources (K, n, n) and their lenses; p(x, l | y) is left as it is if `redraw` is exact and the lens converges.
    """
    source_keys, lens_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    x = _redrawn(redraw, source_keys, eta, a, x, together)
    return x, lens_given_source(lens_keys, problem, eta, x, a, stage, stage.samples)
