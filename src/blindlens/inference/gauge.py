"""Sources that move or grow with their field, which the image can hardly tell."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..prior import Denoiser
from ..sampler.kernels import metropolis
from .problem import Problem

LEAST, MOST = 0.02, 0.16
"""Of the logarithm by which a source grows in one move."""
SHIFT_NODES, GROWTH_NODES = 8, 32
"""Of the line integrals. Noise turns as far as the source does: at the longest growth errors are at most 0.04 nat
(`pytest -m slow -s tests/inference/test_gauge.py -k converged`), with 8 nodes 0.1 to 3.1.
"""


def log_change(denoiser: Denoiser, along: Callable[[Array], tuple[Array, Array]], sigma: Array, nodes: int) -> Array:
    """log p_sigma(x(1)) - log p_sigma(x(0)) for a path x(s) of noisy images, as a line integral of the score:

        int_0^1 <D(x(s)) - x(s), dx/ds> ds / sigma^2.

    along: s to x(s) and dx/ds, (n, n) each.
    """
    s, w = np.polynomial.legendre.leggauss(nodes)
    path, slope = jax.vmap(along)(jnp.asarray((s + 1) / 2, jnp.float32))
    return jnp.sum(jnp.asarray(w / 2, path.dtype)[:, None, None] * (denoiser(path, sigma) - path) * slope) / sigma**2


def shift(x_t: Array, by: Array) -> Callable[[Array], tuple[Array, Array]]:
    """The path of a periodic shift of x_t (n, n) by (columns, rows), by its Fourier series."""
    n = x_t.shape[-1]
    k = jnp.fft.fftfreq(n, 1 / n)
    k = jnp.where(jnp.abs(k) == n / 2, 0.0, k)  # a sine at the Nyquist frequency cannot be seen
    phase = -2j * jnp.pi / n * (by[0] * k[None] + by[1] * k[:, None])
    waves = jnp.fft.fft2(x_t)

    def along(s: Array) -> tuple[Array, Array]:
        moved = waves * jnp.exp(s * phase)
        return jnp.fft.ifft2(moved).real, jnp.fft.ifft2(phase * moved).real

    return along


@cache
def _growth(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (n,) and modes (n, n) of -K, K = (r d/dr + d/dr r)/2 on n pixels about their middle.

    K is antisymmetric, so that exp(-g K) turns white noise into white noise; what is smooth and lies within the field
    becomes exp(-g/2) x(exp(-g) r).
    """
    k = np.fft.fftfreq(n, 1 / n)
    k[np.abs(k) == n / 2] = 0
    d = np.fft.ifft(2j * np.pi / n * k[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0).real
    r = np.arange(n) - (n - 1) / 2
    K = (r[:, None] * d + d * r) / 2
    return np.linalg.eigh(1j * K)


def growth(x_t: Array, by: Array, sky: Array) -> Callable[[Array], tuple[Array, Array]]:
    """The path of a source x_t (n, n) that grows by a factor exp(`by`) about the middle, its surface brightness above
    `sky` falling by the same factor: a rotation in the space of images.
    """
    omega, modes = _growth(x_t.shape[-1])
    omega, modes = jnp.asarray(omega, jnp.float32), jnp.asarray(modes, jnp.complex64)
    waves = modes.conj().T @ (x_t - sky) @ modes.conj()
    phase = 1j * by * (omega[:, None] + omega)

    def along(s: Array) -> tuple[Array, Array]:
        moved = waves * jnp.exp(s * phase)
        back = lambda t: (modes @ t @ modes.T).real  # noqa: E731
        return sky + back(moved), back(phase * moved)

    return along


def regauged(
    keys: Array,
    eta: Array,
    x_t: Array,
    sigma: Array,
    problem: Problem,
    prior: Denoiser,
    log_likelihood: Callable[[Array, Array], Array],
) -> tuple[Array, Array, Array]:
    """Noisy source and its field move by one pixel a side at the most in opposite senses, and grow in opposite senses
    where field and flux scale are free, as often as there are keys: eta, x_t, share of the moves that were made.
    """
    grows = {"source_fov", "flux_scale"} <= set(problem.space.names)

    def decide(key, state, new, inside, along, nodes):
        log_ratio = log_change(prior, along, sigma, nodes) + log_likelihood(*new) - log_likelihood(*state)
        return metropolis(key, new, state, jnp.where(inside, log_ratio, -jnp.inf))

    def one(state, key):
        step_key, accept_key, *grow_keys = jax.random.split(key, 5)
        steps = jax.random.randint(step_key, (2,), -1, 2)
        moved, inside = problem.translated(state[0], steps[0], steps[1])
        new = (moved, jnp.roll(state[1], (-steps[1], -steps[0]), (0, 1)))
        state, info = decide(accept_key, state, new, inside, shift(state[1], -steps), SHIFT_NODES)
        made = jnp.stack([info.accepted & jnp.any(steps != 0)])
        if grows:
            size_key, sign_key, accept_key = grow_keys
            size = jnp.exp(jax.random.uniform(size_key, (), x_t.dtype, np.log(LEAST), np.log(MOST)))
            by = size * jax.random.rademacher(sign_key, (), x_t.dtype)
            along = growth(state[1], by, problem.sky)
            grown, inside = problem.enlarged(state[0], -by)
            state, info = decide(accept_key, state, (grown, along(jnp.ones(()))[0]), inside, along, GROWTH_NODES)
            made = jnp.append(made, info.accepted)
        return state, made

    (eta, x_t), made = jax.lax.scan(one, (eta, x_t), keys)
    return eta, x_t, jnp.sum(made, 0) / max(1, len(keys))
