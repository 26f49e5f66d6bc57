"""What every guidance is: a denoiser of the posterior, made of a denoiser of the prior and an operator."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
from jax import Array

from ..linear import LinearOperator


class Guidance(NamedTuple):
    """mean: E[x | x_t, y], (n, n); prior_mean: E[x | x_t]; residual: relative, of the linear solve (0 without one)."""

    mean: Array
    prior_mean: Array
    residual: Array


class Guided(eqx.Module):
    """x_t, sigma -> E[x | x_t, y] for y = A x + N(0, I), one image at a time.

    By Tweedie's formula the mean is D + sigma^2 times the likelihood score, the gradient of log p(y | x_t). The methods
    differ in their Gaussian for p(y | x_t). denoiser: D(x_t, sigma) of the prior. A: whitened. y: of A's out_shape.
    """

    denoiser: eqx.AbstractVar[Callable[[Array, Array], Array]]
    A: eqx.AbstractVar[LinearOperator]
    y: eqx.AbstractVar[Array]

    @abc.abstractmethod
    def evaluate(self, x_t: Array, sigma: Array) -> Guidance:
        """Both means and how well the linear system was solved."""

    def __call__(self, x_t: Array, sigma: Array) -> Array:
        """E[x | x_t, y], (n, n)."""
        return self.evaluate(x_t, sigma).mean

    def likelihood_score(self, x_t: Array, sigma: Array) -> Array:
        """The gradient of log p(y | x_t) in x_t, (n, n)."""
        g = self.evaluate(x_t, sigma)
        return (g.mean - g.prior_mean) / sigma**2
