"""Sources that move by whole pixels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..prior import Denoiser
from ..sampler.kernels import metropolis
from .problem import Problem


def log_shift_ratio(denoiser: Denoiser, x_t: Array, shift: Array, sigma: Array, nodes: int = 6) -> Array:
    """log p_sigma(T x_t) - log p_sigma(x_t) for T a periodic shift by (columns, rows), as a line integral along it.

    int_0^1 <score(T_s x_t), dT_s x_t/ds> ds = int_0^1 <D(T_s x_t), dT_s x_t/ds> ds / sigma^2, since shifts keep |x_t|.
    """
    n = x_t.shape[-1]
    k = jnp.fft.fftfreq(n, 1 / n)
    k = jnp.where(jnp.abs(k) == n / 2, 0.0, k)  # a sine at the Nyquist frequency cannot be seen
    phase = -2j * jnp.pi / n * (shift[0] * k[None] + shift[1] * k[:, None])
    s, w = np.polynomial.legendre.leggauss(nodes)
    waves = jnp.fft.fft2(x_t) * jnp.exp(jnp.asarray((s + 1) / 2, x_t.dtype)[:, None, None] * phase)
    path, slope = jnp.fft.ifft2(waves).real, jnp.fft.ifft2(phase * waves).real
    return jnp.sum(jnp.asarray(w / 2, x_t.dtype)[:, None, None] * denoiser(path, sigma) * slope) / sigma**2


def shifted(
    keys: Array,
    eta: Array,
    x_t: Array,
    sigma: Array,
    problem: Problem,
    prior: Denoiser,
    log_likelihood: Callable[[Array, Array], Array],
) -> tuple[Array, Array, Array]:
    """Noisy source and its field move by one pixel a side at the most in opposite senses, which the image can hardly
    tell, as often as there are keys: eta, x_t, share of the moves that were made.
    """

    def one(state, key):
        eta, x_t = state
        step_key, accept_key = jax.random.split(key)
        steps = jax.random.randint(step_key, (2,), -1, 2)
        moved, inside = problem.translated(eta, steps[0], steps[1])
        new = (moved, jnp.roll(x_t, (-steps[1], -steps[0]), (0, 1)))
        log_ratio = log_shift_ratio(prior, x_t, -steps, sigma) + log_likelihood(*new) - log_likelihood(eta, x_t)
        state, info = metropolis(accept_key, new, state, jnp.where(inside, log_ratio, -jnp.inf))
        return state, info.accepted & jnp.any(steps != 0)

    (eta, x_t), made = jax.lax.scan(one, (eta, x_t), keys)
    return eta, x_t, jnp.sum(made) / max(1, made.size)
