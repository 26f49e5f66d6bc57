"""The start of arXiv:2511.04792: one Sersic profile behind the lens, fitted by Adam from many random starts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from ..config import SersicConfig
from ..lens.light import sersic
from ..lens.mass import LensModel
from ..lens.parameters import ParameterSpace, Polar, Uniform
from .parallel import spread
from .problem import Problem, condition


class SersicFit(eqx.Module):
    """y = s PSF * g(l, k) + G_l a + noise, g the mean over a pixel's rays of the Sersic profile at beta(theta).

    l: the lens, whose (xs, ys) is the profile's centre; k: its q, phi, n and R_e; s >= 0: its amplitude, the brightness
    at R_e in data units. space: l, the shape of the lens's light if it has any, and k, as `<name>_sersic`. The source
    is no pixel image, so that `flux_scale` and `source_fov` mean nothing here.
    """

    problem: Problem
    space: ParameterSpace

    def profile(self, p: dict[str, Array]) -> Array:
        """g of unit amplitude, blurred and divided by the noise, (N,)."""
        operator = self.problem.operator
        rays = operator.rays[0]
        beta = operator.lens.ray_shoot(p, rays.x, rays.y)
        shape = {name: p[f"{name}_sersic"] for name in ("q", "phi", "n", "R_e")}
        image = sersic({**shape, "I_e": 1.0, "x0": p["xs"], "y0": p["ys"]}, *beta).mean(0)
        image = image if operator.blur is None else operator.blur(image)
        return (self.problem.weight * image).ravel()

    def amplitude(self, b: Array, g: Array, G: Array | None) -> Array:
        """The s >= 0 that maximises N(b - s g; 0, I + G G^T). b, g: (N,), G: (N, k) or None without lens light."""
        whiten = g
        if G is not None:
            L = jnp.linalg.cholesky(G.T @ G + jnp.eye(G.shape[1], dtype=G.dtype))
            whiten = g - G @ jax.scipy.linalg.cho_solve((L, True), G.T @ g)
        # a profile that no pixel sees has no amplitude
        return jnp.maximum(whiten @ b, 0.0) / (whiten @ g + jnp.finfo(g.dtype).tiny)

    def log_posterior(self, eta: Array) -> Array:
        """max over s of log p(y | l, k, s), light integrated out, + log N(eta; 0, I), without constants. eta: (d,)."""
        p = self.space.from_normal(eta)
        b, g, G = (self.problem.weight * self.problem.y).ravel(), self.profile(p), None
        if self.problem.light is not None:
            images = self.problem.light_images(p) * self.problem.weight
            G = images.reshape(len(images), -1).T
        # at its maximum s has no first-order part in the gradient
        left = b - jax.lax.stop_gradient(self.amplitude(b, g, G)) * g
        log_likelihood = -jnp.sum(left**2) / 2 if G is None else condition(left, G)[0]
        return log_likelihood - jnp.sum(eta**2) / 2


def sersic_fit(problem: Problem, lens: LensModel, config: SersicConfig) -> SersicFit:
    """The fit to a problem's data with its rays, and uniform priors over the configured ranges."""
    space = lens.space if problem.light is None else lens.space + problem.light.space()
    shape = (
        Polar("q_sersic", "phi_sersic", *config.q, 2, "high"),
        Uniform("n_sersic", *config.n),
        Uniform("R_e_sersic", *config.R_e, "arcsec"),
    )
    return SersicFit(problem, space + ParameterSpace(shape))


@eqx.filter_jit
def adam(fit: SersicFit, eta: Array, steps: int, rate: float, batch: int) -> tuple[Array, Array]:
    """Adam ascent (Kingma & Ba 2015) of all starts (K, d); the ends and their log posterior.

    The learning rate falls from `rate` to nothing as a cosine: the posterior is a thousandth wide in some coordinates,
    where steps of a constant rate would end at random. What is not finite in a gradient counts as zero. `batch` starts
    climb side by side on each device, without lens light.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def ascend(fit: SersicFit, eta: Array) -> tuple[Array, Array]:
        def step(carry, _):
            eta, state = carry
            g = jax.grad(fit.log_posterior)(eta)
            down, state = optimiser.update(jnp.where(jnp.isfinite(g), -g, 0.0), state)
            return (eta + down, state), None

        (eta, _), _ = jax.lax.scan(step, (eta, optimiser.init(eta)), length=steps)
        return eta, fit.log_posterior(eta)

    # with light every start factorises a matrix a step, and such work does not go in batches (`spread`)
    return spread(ascend, fit, eta, batch_size=batch if fit.problem.light is None else None)


def sersic_ends(key: Array, fit: SersicFit, config: SersicConfig) -> tuple[Array, Array]:
    """Where Adam ends from random starts, eta (K, d), and the log posterior there, (K,)."""
    eta = jax.random.normal(key, (config.starts, fit.space.size))
    return adam(fit, eta, config.steps, config.rate, config.batch)
