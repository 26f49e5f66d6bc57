"""Two sets of Gaussians that make up one galaxy's light: names for what the data cannot tell apart, and starts."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .evidence import Mode
from .problem import Problem

SPREAD = 0.35
"""Of the sets' normal coordinates, where climbs to other shapes of the light start."""


def relabelled(problem: Problem, eta: Array, like: Array) -> Array:
    """eta (..., d), the light's two sets exchanged where their shapes then lie nearer to those of `like` (d,).

    The posterior is the same after the exchange, so that draws may be named so; means would be mixtures otherwise.
    """
    if problem.light is None or len(shapes := problem.light.alike()) < 2:
        return eta
    first, second = (_coordinates(problem, name) for name in shapes)
    difference = lambda at: at[..., first] - at[..., second]  # noqa: E731
    exchanged = exchange(problem, eta)
    further = jnp.sum(difference(eta) * difference(like), -1, keepdims=True) < 0
    return jnp.where(further, exchanged, eta)


def relabelled_modes(problem: Problem, modes: Mode) -> Mode:
    """Stacked modes, each named like the best of them."""
    order = np.asarray(exchange(problem, jnp.arange(modes.eta.shape[1])))
    best = int(np.argmax(modes.log_posterior))
    eta = np.asarray(relabelled(problem, jnp.asarray(modes.eta), jnp.asarray(modes.eta[best])))
    factors = np.array(modes.factor)
    for k in np.flatnonzero((eta != np.asarray(modes.eta)).any(1)):
        turned = np.asarray(modes.factor[k], np.float64)[order]
        factors[k] = np.linalg.cholesky(turned @ turned.T)
    return modes._replace(eta=eta, factor=factors)


def exchange(problem: Problem, eta: Array) -> Array:
    """eta (..., d) with the light's two sets exchanged; as it is where there are no two."""
    if problem.light is None or len(shapes := problem.light.alike()) < 2:
        return eta
    first, second = (_coordinates(problem, name) for name in shapes)
    return eta.at[..., first].set(eta[..., second]).at[..., second].set(eta[..., first])


def other_shapes(key: Array, problem: Problem, eta: Array, count: int) -> Array:
    """`count` lenses that are eta (d,) but for the shapes of the light's two sets, drawn about round ones; none where
    there are no two sets.

    Sets that share every width may split a galaxy's light between them in more than one way, each a mode.
    """
    shapes = problem.light.alike() if problem.light is not None else ()
    if len(shapes) < 2:
        return jnp.zeros((0, eta.size), eta.dtype)
    where = np.concatenate([_coordinates(problem, name) for name in shapes])
    drawn = SPREAD * jax.random.normal(key, (count, len(where)), eta.dtype)
    return jnp.tile(eta, (count, 1)).at[:, where].set(drawn)


def _coordinates(problem: Problem, name: str) -> np.ndarray:
    block, start = problem.space.block(name)
    return np.arange(start, start + block.size)
