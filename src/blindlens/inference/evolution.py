"""A reverse diffusion looked at on its way: what arXiv:2511.04792 shows of its sampler."""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..guidance import Guided
from ..prior import Denoiser
from ..sampler.schedule import Schedule
from ..sampler.sde import diffuse
from .gibbsddrm import GibbsDDRM


class Snapshots(NamedTuple):
    """t: (k,), falling. x_t, mean: (k, n, n), the noisy source and its Tweedie mean D(x_t). eta: (k, d), the lens."""

    t: np.ndarray
    x_t: Array
    mean: Array
    eta: Array


@eqx.filter_jit
def _descend(method: GibbsDDRM, keys: Array, x_t: Array, v: Array, sigmas: Array, active: Array):
    x_t, v, _ = method.descend(keys, x_t, v, sigmas, active)
    return x_t, v, method.prior(x_t, sigmas[-1])


def evolution(key: Array, method: GibbsDDRM, eta: Array, count: int) -> Snapshots:
    """The joint draw of that key from the lens eta (d,), seen `count` times, evenly in t. count: at most the steps."""
    begin, key = jax.random.split(key)
    steps = method.stage.steps
    keys, active, sigmas = jax.random.split(key, steps), jnp.asarray(method.active()), method.schedule.ladder(steps)
    x_t, v = method.begin(begin, eta)
    ends, seen = np.linspace(0, steps, count + 1).round().astype(int), []
    for a, b in itertools.pairwise(ends):
        x_t, v, mean = _descend(method, keys[a:b], x_t, v, sigmas[a : b + 1], active[a:b])
        seen.append((x_t, mean, method.box.normal(v)))
    return Snapshots(np.linspace(1, 0, steps + 1)[ends[1:]], *(jnp.stack(parts) for parts in zip(*seen, strict=True)))


@eqx.filter_jit
def tweedie_mean(
    key: Array, guided: Guided, prior: Denoiser, schedule: Schedule, t: float, steps: int, solver: str
) -> Array:
    """D(x_t), (n, n), of a source-only draw that `guided` has carried from t = 1 to t in so many steps."""
    start, walk = jax.random.split(key)
    x = schedule.sigma_max * jax.random.normal(start, (prior.n, prior.n))
    x_t = diffuse(walk, guided, x, schedule.ladder(steps, 1.0, t), solver)
    return prior(x_t, schedule.sigma(t))
