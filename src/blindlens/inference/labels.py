"""Names for what the data cannot tell apart: two sets of Gaussians that make up one galaxy's light."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from .problem import Problem


def relabelled(problem: Problem, eta: Array, like: Array) -> Array:
    """eta (..., d), the light's two sets exchanged where their shapes then lie nearer to those of `like` (d,).

    The posterior is the same after the exchange, so that draws may be named so; means would be mixtures otherwise.
    """
    if problem.light is None or len(shapes := problem.light.alike()) < 2:
        return eta
    first, second = (_coordinates(problem, name) for name in shapes)
    difference = lambda at: at[..., first] - at[..., second]  # noqa: E731
    exchanged = eta.at[..., first].set(eta[..., second]).at[..., second].set(eta[..., first])
    further = jnp.sum(difference(eta) * difference(like), -1, keepdims=True) < 0
    return jnp.where(further, exchanged, eta)


def _coordinates(problem: Problem, name: str) -> np.ndarray:
    block, start = problem.space.block(name)
    return np.arange(start, start + block.size)
