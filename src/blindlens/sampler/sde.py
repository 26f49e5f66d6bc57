"""The reverse diffusion: from noise to an image, by solvers that are chosen by name.

With tau = sigma^2 as the clock, x_t = x + sigma eps runs backwards by (Song et al. 2021, arXiv:2011.13456)

    dx = -score(x, sigma) d tau + |d tau|^(1/2) xi,     score = (D(x, sigma) - x) / sigma^2,   tau falling,

so that a step from sigma to sigma' has the drift (sigma^2 - sigma'^2) score and noise of that variance, whatever
function of time sigma is. The noise is additive: Heun's method is of second weak order.
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array

Denoise = Callable[[Array, Array], Array]

SNR = 0.16
"""Signal-to-noise ratio of the Langevin corrector, the value of Song et al. 2021 for images."""


class Step(Protocol):
    """From x at noise `now` to x at noise `then`."""

    def __call__(self, key: Array, denoise: Denoise, x: Array, now: Array, then: Array) -> Array: ...


def score(denoise: Denoise, x: Array, sigma: Array) -> Array:
    """Tweedie's formula."""
    return (denoise(x, sigma) - x) / sigma**2


def euler_maruyama(key: Array, denoise: Denoise, x: Array, now: Array, then: Array) -> Array:
    """First weak order, one call of the denoiser."""
    fall = now**2 - then**2
    return x + fall * score(denoise, x, now) + jnp.sqrt(fall) * jax.random.normal(key, x.shape, x.dtype)


def heun(key: Array, denoise: Denoise, x: Array, now: Array, then: Array) -> Array:
    """Second weak order, two calls: the drift is the mean of both ends', the noise the same in both."""
    fall = now**2 - then**2
    slope = score(denoise, x, now)
    noise = jnp.sqrt(fall) * jax.random.normal(key, x.shape, x.dtype)
    ahead = x + fall * slope + noise
    return x + fall / 2 * (slope + score(denoise, ahead, then)) + noise


def predictor_corrector(key: Array, denoise: Denoise, x: Array, now: Array, then: Array) -> Array:
    """Euler-Maruyama, then a Langevin step at `then` whose size is set by SNR; two calls."""
    predict_key, correct_key = jax.random.split(key)
    x = euler_maruyama(predict_key, denoise, x, now, then)
    slope, noise = score(denoise, x, then), jax.random.normal(correct_key, x.shape, x.dtype)
    size = 2 * (SNR * jnp.linalg.norm(noise) / jnp.linalg.norm(slope)) ** 2
    return x + size * slope + jnp.sqrt(2 * size) * noise


def flow(key: Array, denoise: Denoise, x: Array, now: Array, then: Array) -> Array:
    """The probability flow, an ordinary differential equation with the same p_sigma; two calls, no noise.

    Heun's method in log sigma: dx = (x - D) d log sigma, with D linear between the ends.
    """
    D, r = denoise(x, now), then / now
    D_end = denoise(D + r * (x - D), then)
    return r * x + (1 - r) * D + (D_end - D) * (1 - (r - 1) / jnp.log(r))


SOLVERS: dict[str, Step] = {
    "heun": heun,
    "euler-maruyama": euler_maruyama,
    "predictor-corrector": predictor_corrector,
    "flow": flow,
}

CALLS = {"heun": 2, "euler-maruyama": 1, "predictor-corrector": 2, "flow": 2}
"""Of the denoiser, a step."""


def diffuse(key: Array, denoise: Denoise, x: Array, sigmas: Array, solver: str = "heun") -> Array:
    """Carry x (n, n) from noise sigmas[0] down the ladder `sigmas` (steps + 1,) to sigmas[-1] > 0.

    solver: one of SOLVERS. The steps are one compiled loop; draws and systems are batched by `jax.vmap` or
    `jax.lax.map`, a key each.
    """
    step = SOLVERS[solver]

    def body(x: Array, inputs: tuple[Array, Array, Array]):
        key, now, then = inputs
        return step(key, denoise, x, now, then), None

    keys = jax.random.split(key, len(sigmas) - 1)
    return jax.lax.scan(body, x, (keys, sigmas[:-1], sigmas[1:]))[0]
