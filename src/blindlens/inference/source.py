"""The source alone, for a known lens: guided reverse diffusion, by any guidance."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..config import GuidanceConfig, SourceConfig
from ..guidance import CLA, DPS, MMPS, ConjugateGradients, Guided, PiGDM, Solver, variance
from ..linear import LinearOperator
from ..prior import Denoiser
from ..sampler.schedule import Schedule
from ..sampler.sde import diffuse
from .parallel import spread
from .problem import Problem


def guide(
    stage: GuidanceConfig,
    prior: Denoiser,
    A: LinearOperator,
    y: Array,
    schedule: Schedule,
    solver: Solver | None = None,
) -> Guided:
    """The configured guidance of a prior towards y = A x + N(0, I). solver: in place of conjugate gradients."""
    if stage.method == "dps":
        return DPS(prior, A, y, stage.zeta)
    if stage.method == "mmps":
        return MMPS(prior, A, y, stage.cg_tolerance, stage.most_steps)
    cls = {"cla": CLA, "pigdm": PiGDM}[stage.method]
    rule = variance(stage.variance or "cla", prior.scale, schedule)
    return cls(prior, A, y, rule, solver or ConjugateGradients(stage.cg_tolerance, stage.most_steps))


def worst_residual(key: Array, guided: Guided, x: Array, schedule: Schedule) -> Array:
    """The greatest relative residual of a guidance's linear solves over ten noise levels, where x with noise is x_t."""

    def solved(t: Array) -> Array:
        sigma = schedule.sigma(t)
        return guided.evaluate(x + sigma * jax.random.normal(key, x.shape), sigma).residual

    return jnp.max(jax.lax.map(solved, jnp.linspace(0.1, 1.0, 10)))


@eqx.filter_jit
def misfits(problem: Problem, eta: Array, x: Array, a: Array | None = None) -> Array:
    """chi2 per pixel (K,) of lenses (K, d), their sources (K, n, n) and light amplitudes (K, k), by default none."""
    a = jnp.zeros((len(x), 0), x.dtype) if a is None else a
    return jax.lax.map(lambda item: problem.chi2(*item), (eta, x, a))


class SourceDraw(NamedTuple):
    """x: (n, n), model units. residual: `worst_residual` there."""

    x: Array
    residual: Array


def draw_source(key: Array, guided: Guided, prior: Denoiser, schedule: Schedule, stage: SourceConfig) -> SourceDraw:
    """One draw of x | l, y: the reverse diffusion from noise alone at sigma_max; what noise is left is taken out."""
    start, walk, look = jax.random.split(key, 3)
    x_t = schedule.sigma_max * jax.random.normal(start, (prior.n, prior.n))
    x = diffuse(walk, guided, x_t, schedule.ladder(stage.steps), stage.solver)
    x = prior(x, schedule.sigma_min)
    return SourceDraw(x, worst_residual(look, guided, x, schedule))


@eqx.filter_jit
def draw_sources(keys: Array, guided: Guided, prior: Denoiser, schedule: Schedule, stage: SourceConfig) -> SourceDraw:
    """A draw a key, stacked; on each device `stage.batch` at once. A draw does not depend on the others."""

    def one(shared, key):
        return draw_source(key, *shared, schedule, stage)

    return spread(one, (guided, prior), keys, batch_size=stage.batch)


class Redraw(eqx.Module):
    """key, eta, a, x -> a draw of the source for that lens, whatever x is: a step of Gibbs sampling."""

    problem: Problem
    prior: Denoiser
    schedule: Schedule = eqx.field(static=True)
    stage: SourceConfig = eqx.field(static=True)

    def __call__(self, key: Array, eta: Array, a: Array, x: Array) -> Array:
        A, y = self.problem.measurement(self.problem.params(eta))
        guided = guide(self.stage.guidance, self.prior, A, y, self.schedule)
        return draw_source(key, guided, self.prior, self.schedule, self.stage).x
