"""Denoising score matching: the noise levels, the loss, one step of Adam, the running averages."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from ..networks.layers import Fourier
from ..score import PRECONDITIONING, WEIGHTS, ScorePrior, Span
from .config import TrainConfig

MIDDLE = (-0.5, 1.4)
"""Mean and sd of log(sigma / sd) of the noise levels where galaxies and noise are told apart."""


def noise_levels(key: Array, count: int, span: Span, noise: str) -> Array:
    """sigma (count,), spread evenly over its distribution: one in each of `count` equally likely intervals."""
    order, jitter = jax.random.split(key)
    u = (jax.random.permutation(order, count) + jax.random.uniform(jitter, (count,))) / count
    low, high = jnp.log(span.sigma_min), jnp.log(span.sigma_max)
    wide = low + u * (high - low)
    if noise == "log-uniform":
        return jnp.exp(wide)
    # every other interval; the two halves keep their own even spread
    centre = jnp.log(span.sd) + MIDDLE[0] + MIDDLE[1] * jax.scipy.special.ndtri(jnp.clip(u, 1e-4, 1 - 1e-4))
    narrow = (jnp.floor(u * count) % 2) == 0
    return jnp.exp(jnp.where(narrow, jnp.clip(centre, low, high), wide))


def in_precision(network: Any, dtype: jnp.dtype) -> Any:
    """The network with weights of that type, but for the frequencies that tell the noise level."""

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf

    return jax.tree.map(cast, network, is_leaf=lambda leaf: isinstance(leaf, Fourier))


def errors(prior: ScorePrior, x: Array, sigma: Array, eps: Array, dtype: jnp.dtype) -> Array:
    """w(sigma) |D(x + sigma eps, sigma) - x|^2 per pixel, (b,), w of WEIGHTS; the network's weights are in `dtype`."""
    denoise, weight = PRECONDITIONING[prior.preconditioning], WEIGHTS[prior.preconditioning]
    network = in_precision(prior.network, dtype)

    def one(x, sigma, eps):
        def cast(image, level):
            out = network(image, level)
            return jax.tree.map(lambda leaf: leaf.astype(image.dtype), out)

        D = denoise(cast, x + sigma * eps, sigma, prior.span)
        return weight(sigma, prior.span) * jnp.mean((D - x) ** 2)

    return jax.vmap(one)(x, sigma, eps)


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Adam with warm-up, cosine decay and clipping."""
    end = 0.01 * config.rate if config.decay else config.rate
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.rate, config.warmup, max(config.steps, config.warmup + 1), end
    )
    return optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate, b2=0.99))


class State(eqx.Module):
    """All that a run goes on from: the prior being trained, its averages, Adam's moments, the step, the loss so far.

    loss: running mean over about 100 steps.
    """

    prior: ScorePrior
    averages: tuple[ScorePrior, ...]
    moments: optax.OptState
    step: Array
    loss: Array


def first_state(prior: ScorePrior, config: TrainConfig) -> State:
    """The state at step 0."""
    moments = optimiser(config).init(eqx.filter(prior, eqx.is_inexact_array))
    return State(prior, (prior,) * len(config.ema), moments, jnp.zeros((), jnp.int32), jnp.zeros(()))


def advance(state: State, key: Array, x: Array, config: TrainConfig) -> State:
    """One step on images x (b, n, n) in model units; to be compiled with `config` static."""
    key = jax.random.fold_in(key, state.step)
    level_key, eps_key = jax.random.split(key)
    sigma = noise_levels(level_key, x.shape[0], state.prior.span, config.noise)
    eps = jax.random.normal(eps_key, x.shape, x.dtype)
    dtype = jnp.dtype(config.precision)
    loss, gradient = eqx.filter_value_and_grad(lambda p: jnp.mean(errors(p, x, sigma, eps, dtype)))(state.prior)
    update, moments = optimiser(config).update(gradient, state.moments, eqx.filter(state.prior, eqx.is_inexact_array))
    prior = eqx.apply_updates(state.prior, update)

    def averaged(average: ScorePrior, decay: float) -> ScorePrior:
        # as long a memory as there are steps, at first
        keep = jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step))
        mix = lambda old, new: keep * old + (1 - keep) * new if eqx.is_inexact_array(old) else old  # noqa: E731
        return jax.tree.map(mix, average, prior)

    averages = tuple(averaged(a, decay) for a, decay in zip(state.averages, config.ema, strict=True))
    memory = jnp.minimum(0.99, (1.0 + state.step) / (10.0 + state.step))
    loss = jnp.where(state.step == 0, loss, memory * state.loss + (1 - memory) * loss)
    return State(prior, averages, moments, state.step + 1, loss)
