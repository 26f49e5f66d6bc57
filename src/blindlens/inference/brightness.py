"""How bright a score prior wants sources, where the image sees no more than their product with the flux scale."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..lens.parameters import LogUniform
from ..prior import Denoiser
from .evidence import Evidence, Mode, sources
from .parallel import spread
from .problem import Problem

NOISES, HALVINGS = 4, 10
"""Of a source, whose means are taken; of the range of the flux scale, which is a factor of 900."""


def pull(prior: Denoiser, key: Array, x: Array, sky: Array, log_gain: Array, sigma: Array) -> Array:
    """d/dg of what a source x (n, n), brighter above `sky` by exp(g), is worth to the prior at noise sigma:

        <u, D(x_t) - x> / sigma^2 + tr dD/dx_t,   u = x - sky,   x_t = x + sigma eps,

    a mean over NOISES eps. The first part is d log p(x_t)/dg for the mean eps; the second is what the volume that the
    data leave to a source grows by with it, as the flux scale falls, in the directions that noise does not hide. Over
    sources of the prior itself the mean of the two is zero.
    """
    bright = sky + jnp.exp(log_gain) * (x - sky)

    def one(key: Array) -> Array:
        eps, probe = jax.random.normal(key, (2, *x.shape), x.dtype)
        D, moved = jax.jvp(lambda x_t: prior(x_t, sigma), (bright + sigma * eps,), (probe,))
        return jnp.sum((bright - sky) * (D - bright)) / sigma**2 + jnp.sum(probe * moved)

    return jnp.mean(jax.lax.map(one, jax.random.split(key, NOISES)))


def balance(prior: Denoiser, key: Array, x: Array, sky: Array, low: Array, high: Array, sigma: Array) -> Array:
    """log_gain between `low` and `high` where `pull` turns from up to down."""

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        up = pull(prior, key, x, sky, middle, sigma) > 0
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    return (low + high) / 2


@eqx.filter_jit
def _rescaled(prior: Denoiser, problem: Problem, keys: Array, eta: Array, x: Array, sigma: Array) -> Array:
    """eta (K, d) with the flux scale at which sources x (K, n, n) balance."""
    block, at = problem.space.block("flux_scale")
    assert isinstance(block, LogUniform)

    def one(shared, item):
        (prior, problem, block, sigma), (key, eta, x) = shared, item
        f = problem.params(eta)["flux_scale"]
        # a brighter source has a smaller scale
        gain = balance(prior, key, x, problem.sky, jnp.log(f / block.high), jnp.log(f / block.low), sigma)
        return eta.at[at].set(block.to_normal(f / jnp.exp(gain))[0].astype(eta.dtype))

    return spread(one, (prior, problem, block, sigma), (keys, eta, x))


def brightened(key: Array, modes: Mode, full: Evidence, prior: Denoiser, sigma: float) -> Mode:
    """Modes of a Gaussian prior with the flux scale that `prior` gives their sources at noise sigma, the image held;
    as they are where it is known.

    A Gaussian judges how bright a source is by all of its structure, small structure most: one with less of that than
    the Gaussian expects is wanted brighter than it is.
    """
    if "flux_scale" not in full.problem.space.names:
        return modes
    keys = jax.random.split(key, len(modes.eta))
    x, _ = sources(full, keys, modes.eta)
    return modes._replace(eta=_rescaled(prior, full.problem, keys, modes.eta, x, jnp.asarray(sigma, x.dtype)))
