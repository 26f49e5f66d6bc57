"""Diffusion posterior sampling (DPS; Chung et al., ICLR 2023, arXiv:2209.14687): x given x_t is taken to be D."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..linear import LinearOperator
from .guided import Guidance, Guided


class DPS(Guided):
    """p(y | x_t) ~ N(y; A D, I); its score is (dD/dx_t)^T A^T (y - A D).

    That score is stiff: where the data are much more precise than x_t, steps have to be as short as the data are
    precise. The published algorithm tames it: each of its steps moves x_t by -zeta' / |y - A D| times the gradient of
    |y - A D|^2. zeta: such steps, zeta' = zeta d log sigma; the score is then zeta (dD/dx_t)^T A^T (y - A D) /
    (|y - A D| sigma^2). None: the score as it is.
    """

    denoiser: Callable[[Array, Array], Array]
    A: LinearOperator
    y: Array
    zeta: float | None = eqx.field(static=True, default=None)

    def evaluate(self, x_t: Array, sigma: Array) -> Guidance:
        D, pull = jax.vjp(lambda x: self.denoiser(x, sigma), x_t)
        r = self.y - self.A.mv(D)
        gain = sigma**2 if self.zeta is None else self.zeta / jnp.linalg.norm(r)
        return Guidance(D + gain * pull(self.A.T.mv(r))[0], D, jnp.zeros((), x_t.dtype))
