"""How bright a score prior wants sources, where the image sees no more than their product with the flux scale."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..lens.parameters import LogUniform
from ..prior import Denoiser
from .evidence import Evidence, Mode, sources

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


@eqx.filter_jit
def _gains(prior: Denoiser, keys: Array, x: Array, sky: Array, low: Array, high: Array, sigma: Array) -> Array:
    """Where `pull` turns from up to down between `low` and `high`, of each source, (K,)."""

    def one(item: tuple[Array, ...]) -> Array:
        key, x, low, high = item

        def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2
            up = pull(prior, key, x, sky, middle, sigma) > 0
            return jnp.where(up, middle, low), jnp.where(up, high, middle)

        low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
        return (low + high) / 2

    return jax.lax.map(one, (keys, x, low, high))


def brightened(key: Array, modes: Mode, full: Evidence, prior: Denoiser, sigma: float) -> Mode:
    """Modes of a Gaussian prior with the flux scale that `prior` gives their sources at noise sigma, the image held;
    as they are where it is known.

    A Gaussian sees how bright a source is by all of its structure, small structure most, of which galaxies have less
    than their Gaussian: it wants smooth ones too bright.
    """
    problem = full.problem
    if "flux_scale" not in problem.space.names:
        return modes
    block, at = problem.space.block("flux_scale")
    assert isinstance(block, LogUniform)
    keys = jax.random.split(key, len(modes.eta))
    x, _ = sources(full, keys, modes.eta)
    f = jax.vmap(problem.params)(modes.eta)["flux_scale"]
    # a brighter source has a smaller scale
    ends = jnp.log(f / block.high), jnp.log(f / block.low)
    f = f / jnp.exp(_gains(prior, keys, x, problem.sky, *ends, jnp.asarray(sigma, x.dtype)))
    return modes._replace(eta=modes.eta.at[:, at].set(block.to_normal(f)[:, 0].astype(modes.eta.dtype)))
