"""Fast diffusion EM (Laroche, Almansa & Coupete, WACV 2024, arXiv:2309.00287): one lens, found on the way down.

E step: sources diffuse under PiGDM with the present lens. M step, at every step of the diffusion: the lens that fits
their Tweedie means best, here by Levenberg-Marquardt steps. Started far away it is a cure for bad starts.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...config import FastEMConfig
from ...prior import Denoiser
from ...sampler.schedule import Schedule
from ...sampler.sde import SOLVERS
from ..problem import Problem
from ..source import guide


class FastEM(eqx.Module):
    """Draws of the source with one common lens, that which maximises the mean of log p(y, l | x) over them."""

    problem: Problem
    prior: Denoiser
    schedule: Schedule = eqx.field(static=True)
    stage: FastEMConfig = eqx.field(static=True)

    def cost(self, eta: Array, x: Array) -> Array:
        """-2 log p(y, eta | x), mean over x (count, n, n), without constants."""
        residuals = jax.vmap(lambda x: self.problem.residual(eta, x, jnp.zeros(0, x.dtype)))(x)
        return jnp.sum(residuals**2) / len(x) + jnp.sum(eta**2)

    def newton(self, carry: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
        """A Levenberg-Marquardt step of eta; damping falls after success and grows after failure."""
        eta, damping = carry

        def residual(eta: Array) -> Array:
            each = jax.vmap(lambda x: self.problem.residual(eta, x, jnp.zeros(0, x.dtype)))(x)
            return jnp.concatenate([each.ravel() / jnp.sqrt(len(x)), eta])

        r, J = residual(eta), jax.jacfwd(residual)(eta)
        H = J.T @ J
        new = eta - jnp.linalg.solve(H + damping * jnp.diag(jnp.diagonal(H)), J.T @ r)
        better = self.cost(new, x) < self.cost(eta, x)
        return jnp.where(better, new, eta), jnp.clip(jnp.where(better, damping / 3, damping * 4), 1e-4, 1e6)

    def __call__(self, key: Array, eta: Array, count: int) -> tuple[Array, Array]:
        """The lens `count` times (count, d), and as many sources (count, n, n); eta: where it begins, (d,)."""
        stage, n = self.stage, self.prior.n
        start, key = jax.random.split(key)
        sigmas = self.schedule.ladder(stage.steps)
        moving = jnp.asarray(np.linspace(1, 0, stage.steps + 1)[1:] <= stage.begin)

        def step(carry, inputs):
            x_t, eta, damping = carry
            key, now, then, moves = inputs
            guided = guide(
                stage.guidance, self.prior, *self.problem.measurement(self.problem.params(eta)), self.schedule
            )
            x_t = jax.vmap(lambda key, x: SOLVERS[stage.solver](key, guided, x, now, then))(
                jax.random.split(key, count), x_t
            )

            def maximised() -> tuple[Array, Array]:
                x = jax.lax.map(lambda x: self.prior(x, then), x_t)
                return jax.lax.scan(lambda c, _: (self.newton(c, x), None), (eta, damping), length=stage.newton)[0]

            return (x_t, *jax.lax.cond(moves, maximised, lambda: (eta, damping))), None

        x_t = self.schedule.sigma_max * jax.random.normal(start, (count, n, n), eta.dtype)
        inputs = (jax.random.split(key, stage.steps), sigmas[:-1], sigmas[1:], moving)
        (x_t, eta, _), _ = jax.lax.scan(step, (x_t, eta, jnp.asarray(1e-2, eta.dtype)), inputs)
        x = jax.vmap(lambda x: self.prior(x, sigmas[-1]))(x_t)
        return jnp.tile(eta, (count, 1)), x
