"""The sampler of arXiv:2511.04792 (after GibbsDDRM, Murata et al. 2023, arXiv:2301.12686), in continuous time.

One reverse diffusion draws source and lens together. Each step carries x_t down by a guidance towards y with the lens
held; within a window of times the lens then walks by Langevin steps on

    log p(l | y, x^_t) = log N(y; A_l x^_t, Sigma) + log p(l),    x^_t = D(x_t),

in its own units, with walls at the ends of its prior. That density takes x^_t for the source: it leaves out how far x
may lie from it, which `covariance: network` puts back as N(y; A_l x^_t, Sigma + A_l V A_l^T), V = sigma^2 dD/dx_t.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import GibbsDDRMConfig
from ..guidance import Guided, prior_gaussian
from ..lens.box import Box
from ..prior import Denoiser
from ..sampler.langevin import Walk, langevin
from ..sampler.schedule import Schedule
from ..sampler.sde import SOLVERS
from .parallel import spread
from .problem import Problem, condition
from .source import guide, worst_residual


class Draw(NamedTuple):
    """A joint draw and how it came about.

    eta: (d,), the lens at the end. x: (n, n), model units. path: (steps, d), the lens after each step, `Box` vectors.
    refused: share of Langevin steps that would have left the prior. residual: `worst_residual` at the end. finite:
    whether all of the walk's gradients were.
    """

    eta: Array
    x: Array
    path: Array
    refused: Array
    residual: Array
    finite: Array


class Steps(NamedTuple):
    """lens: (k, d), `Box` vectors after each of k steps of the diffusion; refused, finite: (k,), of its walks."""

    lens: Array
    refused: Array
    finite: Array


class GibbsDDRM(eqx.Module):
    """The sampler for one problem. probes: (n*n, k), orthonormal directions of V; k = 0 without it."""

    problem: Problem
    prior: Denoiser
    probes: Array
    schedule: Schedule = eqx.field(static=True)
    stage: GibbsDDRMConfig = eqx.field(static=True)

    @property
    def box(self) -> Box:
        return Box(self.problem.space)

    def active(self) -> np.ndarray:
        """At which of the diffusion's steps the lens moves, (steps,)."""
        t = np.linspace(1, 0, self.stage.steps + 1)[1:]
        return (t <= self.stage.window[0]) & (t >= self.stage.window[1])

    def seen(self, x_t: Array, sigma: Array) -> tuple[Array, Array]:
        """What the lens sees of the source at x_t: the mean x^ (n, n), and B (n*n, k), V = B B^T; k = 0 without V."""
        if self.stage.covariance == "none":
            return self.prior(x_t, sigma), jnp.zeros((x_t.size, 0), x_t.dtype)
        local = prior_gaussian(self.prior, x_t, sigma, self.probes)
        return local.mean, local.directions * local.sd(sigma)

    def log_density(self, v: Array, x: Array, B: Array) -> Array:
        """log N(y~; A~_l x, I + A~_l B (A~_l B)^T) without its constant; v (d,): the lens as a `Box` vector."""
        b, H = self.problem.system_at(self.box.params(v), B, x)
        return condition(b, H)[0] if B.shape[1] else -jnp.sum(b**2) / 2

    def lens_walk(self, key: Array, v: Array, x_t: Array, sigma: Array) -> Walk:
        """Langevin steps of the lens given x_t."""
        box, stage, (x, B) = self.box, self.stage, self.seen(x_t, sigma)
        factor = None
        if stage.precondition:
            J = jax.jacfwd(lambda v: self.problem.system_at(box.params(v), B[:, :0], x)[0])(v)
            low, high = box.ends()
            # beyond the prior's own width no step is of use
            lam, U = jnp.linalg.eigh(J.T @ J + jnp.diag(12 / (high - low) ** 2))
            factor = U * jax.lax.rsqrt(lam)
        walk = langevin(key, v, lambda v: self.log_density(v, x, B), stage.size, stage.walk, box.inside, factor)
        return walk._replace(position=box.wrapped(walk.position))

    def guided(self, v: Array) -> Guided:
        """The configured guidance for the lens v, a `Box` vector."""
        measurement = self.problem.measurement(self.box.params(v))
        return guide(self.stage.guidance, self.prior, *measurement, self.schedule)

    def begin(self, key: Array, eta: Array) -> tuple[Array, Array]:
        """Noise alone at sigma_max, (n, n), and the lens eta (d,) as a `Box` vector."""
        n = self.prior.n
        noise = jax.random.normal(key, (n, n), self.problem.y.dtype)
        return self.schedule.sigma_max * noise, self.box.vector(eta)

    def descend(self, keys: Array, x_t: Array, v: Array, sigmas: Array, active: Array) -> tuple[Array, Array, Steps]:
        """Source and lens down the noise levels sigmas (k + 1,). keys: (k,). active: (k,), whether the lens moves."""
        stage = self.stage

        def step(carry, inputs):
            x_t, v = carry
            key, now, then, active = inputs

            def alternate(carry, key):
                # from the same x_t every time, with the lens of the time before
                _, v = carry
                source_key, lens_key = jax.random.split(key)
                new = SOLVERS[stage.solver](source_key, self.guided(v), x_t, now, then)
                still = (v, jnp.zeros((), v.dtype), jnp.asarray(True))
                walk = jax.lax.cond(active, lambda: tuple(self.lens_walk(lens_key, v, new, then)), lambda: still)
                return (new, walk[0]), walk[1:]

            (x_t, v), (refused, finite) = jax.lax.scan(alternate, (x_t, v), jax.random.split(key, stage.repeats))
            return (x_t, v), Steps(v, jnp.mean(refused), jnp.all(finite))

        (x_t, v), steps = jax.lax.scan(step, (x_t, v), (keys, sigmas[:-1], sigmas[1:], active))
        return x_t, v, steps

    def draw(self, key: Array, eta: Array) -> Draw:
        """One joint draw that begins with the lens eta, (d,)."""
        start, key = jax.random.split(key)
        sigmas, active = self.schedule.ladder(self.stage.steps), jnp.asarray(self.active())
        x_t, v, steps = self.descend(jax.random.split(key, len(active)), *self.begin(start, eta), sigmas, active)
        x = self.prior(x_t, sigmas[-1])
        residual = worst_residual(start, self.guided(v), x, self.schedule)
        refused = jnp.sum(steps.refused * active) / jnp.maximum(jnp.sum(active), 1)
        return Draw(self.box.normal(v), x, steps.lens, refused, residual, jnp.all(steps.finite))

    @eqx.filter_jit
    def run(self, keys: Array, eta: Array) -> Draw:
        """A draw a key (K,), from eta (K, d), stacked."""

        def one(sampler, item):
            return sampler.draw(*item)

        return spread(one, self, (keys, eta))
