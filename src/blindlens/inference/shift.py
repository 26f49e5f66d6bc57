"""Sources that move by whole pixels."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from ..prior import Denoiser


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
