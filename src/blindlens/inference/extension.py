"""A lens model and one with more components: where in the larger space the gain may lie, from the smaller one."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..errors import BlindlensError
from ..lens.parameters import ParameterSpace
from .evidence import Evidence
from .parallel import spread
from .problem import condition


class Extension(eqx.Module):
    """Two evidences of the same data, sources and priors, all of `small`'s parameters among those of `large`.

    shared, extra: the normal coordinates of `large` that `small` has too, in its order, and the others.
    """

    small: Evidence
    large: Evidence
    shared: tuple[int, ...] = eqx.field(static=True)
    extra: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, small: Evidence, large: Evidence):
        self.small, self.large = small, large
        self.shared = tuple(_coordinates(small.problem.space, large.problem.space))
        self.extra = tuple(sorted(set(range(large.problem.space.size)) - set(self.shared)))

    def joined(self, eta: Array, extra: Array) -> Array:
        """Coordinates of `large` from those of `small` (..., d) and the others (..., k)."""
        out = jnp.zeros((*eta.shape[:-1], len(self.shared) + len(self.extra)), eta.dtype)
        return out.at[..., np.array(self.shared)].set(eta).at[..., np.array(self.extra)].set(extra)


def _coordinates(small: ParameterSpace, large: ParameterSpace) -> list[int]:
    """Where the normal coordinates of one space lie in another. BlindlensError for a parameter that it lacks."""
    found = []
    for block in small.blocks:
        if not set(block.names) <= set(large.names):
            raise BlindlensError(f"the model to compare with lacks {block.names[0]}: it must hold all of the other's")
        other, start = large.block(block.names[0])
        if not eqx.tree_equal(block, other):
            raise BlindlensError(f"the two models must have the same prior for {block.names[0]}")
        found += range(start, start + block.size)
    return found


class Scan(NamedTuple):
    """For extra coordinates e (M, k) about a mode: the coordinates eta of `large`, (M, D), and value, (M,), there: log
    p(y | l) + log N(eta; 0, I), the second term of the shared coordinates alone. precision: theirs, (d, d).
    """

    eta: Array
    value: Array
    precision: Array


@eqx.filter_jit
def scan(extension: Extension, eta: Array, extra: Array) -> Scan:
    """Extra components tried about a mode eta (d,) of `small`, the other parameters following them linearly.

    With V = H H^T + I, J the derivative of the mode's mean residual, F the marginal Fisher matrix and d(e) what the
    extra components change of the residual, the others move by -F^-1 J^T V^-1 d(e). The evidence there is exact: far
    from the mode the linear one promises what is not there.
    """
    small, large = extension.small, extension.large
    b, H = small.problem.system(eta, small.basis, small.x0)
    _, c, L = condition(b, H)
    x, a = small.unpack(c)
    residual = b - H @ c
    J = jax.vmap(lambda t: jax.jvp(lambda e: small.problem.residual(e, x, a).ravel(), (eta,), (t,))[1])(
        jnp.eye(eta.size, dtype=eta.dtype)
    )
    half = jax.scipy.linalg.solve_triangular(L, (J @ H).T, lower=True).T
    F = J @ J.T - half @ half.T + jnp.eye(eta.size, dtype=eta.dtype)
    # J^T V^-1, by V^-1 = I - H (I + H^T H)^-1 H^T
    JV = J - jax.scipy.linalg.solve_triangular(L, half.T, lower=True, trans="T").T @ H.T
    follow = jax.scipy.linalg.solve(F, JV, assume_a="pos")

    def one(shared: tuple, e: Array) -> tuple[Array, Array]:
        large, residual, follow, eta, x, a = shared
        d = large.problem.residual(extension.joined(eta, e), x, a).ravel() - residual
        there = extension.joined(eta - follow @ d, e)
        return there, large.log_posterior(there) + jnp.sum(e**2) / 2

    return Scan(*spread(one, (large, residual, follow, eta, x, a), extra), F)
