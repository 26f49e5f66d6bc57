"""BlindDPS (Chung et al., CVPR 2023, arXiv:2211.10656): source and operator diffuse side by side.

Both are denoised by their own priors, and the gradient of |y - A_l^ x^| at the two means pulls on both.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ...config import BlindDPSConfig
from ...prior import Denoiser
from ...sampler.schedule import Schedule
from ...sampler.sde import diffuse
from ..problem import Problem


class BlindDPS(eqx.Module):
    """u_t = (x_t, eta_t): x of the prior, eta ~ N(0, I), whose denoiser is eta_t / (1 + sigma^2).

    E[u | u_t, y] ~ (D_x, D_eta) - (zeta grad_x, zeta_lens grad_eta) |r|, r the residual over the noise at the means: a
    step of the diffusion moves u_t down the gradient of |r|, as the paper's do, by 2 zeta d log sigma times it.
    """

    problem: Problem
    prior: Denoiser
    schedule: Schedule = eqx.field(static=True)
    stage: BlindDPSConfig = eqx.field(static=True)

    def denoise(self, u_t: Array, sigma: Array) -> Array:
        """u_t: (n*n + d,)."""
        n2 = self.prior.n**2

        def misfit(u_t: Array) -> tuple[Array, Array]:
            x = self.prior(u_t[:n2].reshape(self.prior.n, self.prior.n), sigma)
            eta = u_t[n2:] / (1 + sigma**2)
            r = self.problem.residual(eta, x, jnp.zeros(0, x.dtype))
            return jnp.linalg.norm(r), jnp.concatenate([x.ravel(), eta])

        slope, mean = jax.grad(misfit, has_aux=True)(u_t)
        lengths = jnp.where(jnp.arange(len(u_t)) < n2, self.stage.zeta, self.stage.zeta_lens)
        return mean - lengths * jnp.where(jnp.isfinite(slope), slope, 0.0)

    def __call__(self, key: Array, eta: Array, count: int) -> tuple[Array, Array]:
        """One lens (1, d) and source (1, n, n), begun from noise alone: eta and count are what other baselines need."""
        start, walk = jax.random.split(key)
        n2 = self.prior.n**2
        u_t = self.schedule.sigma_max * jax.random.normal(start, (n2 + eta.size,), eta.dtype)
        u = diffuse(walk, self.denoise, u_t, self.schedule.ladder(self.stage.steps), self.stage.solver)
        return u[n2:][None], u[:n2].reshape(1, self.prior.n, self.prior.n)
