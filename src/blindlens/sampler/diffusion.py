"""The probability flow: diffusion backwards without noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def predicted(x: Array, D: Array, now: Array, then: Array) -> Array:
    """dx = (x - D) d log sigma from `now` to `then` with D frozen: exact."""
    return D + then / now * (x - D)


def corrected(x: Array, D: Array, D_end: Array, now: Array, then: Array) -> Array:
    """The same with D linear in log sigma between the ends."""
    r = then / now
    return r * x + (1 - r) * D + (D_end - D) * (1 - (r - 1) / jnp.log(r))


def flow_step(denoise: Callable[[Array, Array], Array], x: Array, now: Array, then: Array) -> Array:
    """One step of Heun's method in log sigma, 2 calls."""
    D = denoise(x, now)
    return corrected(x, D, denoise(predicted(x, D, now, then), then), now, then)


def probability_flow(
    denoise: Callable[[Array, Array], Array], x: Array, start: Array, end: Array, steps: int
) -> tuple[Array, Array, Array]:
    """Carry x ~ p_start to p_end, p_sigma = p * N(0, sigma^2), by dx/d sigma = (x - D(x, sigma)) / sigma.

    The probability flow of Song et al. 2021, by Heun's method in log sigma, 2 steps + 1 calls. x: (n, n). Returns x at
    the end, and D at the start and at the end, (n, n) each.
    """
    ladder = start * (end / start) ** jnp.linspace(0, 1, steps + 1)
    half = jnp.arange(2 * steps + 1) // 2
    now, then = ladder[half], jnp.append(ladder[1:], ladder[-1] / 2)[half]
    predicts = jnp.arange(2 * steps + 1) % 2 == 0

    # all calls in one place: a network is compiled once for each
    def call(carry: tuple[Array, Array, Array], inputs: tuple[Array, Array, Array]):
        x, ahead, D = carry
        predict, now, then = inputs
        E = denoise(jnp.where(predict, x, ahead), jnp.where(predict, now, then))
        x, D = jnp.where(predict, x, corrected(x, D, E, now, then)), jnp.where(predict, E, D)
        return (x, predicted(x, D, now, then), D), E

    (x, *_), means = jax.lax.scan(call, (x, x, x), (predicts, now, then))
    return x, means[0], means[-1]
