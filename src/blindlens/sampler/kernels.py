"""Metropolis kernels for a density that is nearly a known Gaussian, or nearly a mixture of known Gaussians."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

Place = TypeVar("Place")


class State(NamedTuple):
    """position (d,) and log density there."""

    position: Array
    logdensity: Array


class Info(NamedTuple):
    """acceptance: probability; accepted: bool; log_ratio: on which that was decided, -inf for NaN."""

    acceptance: Array
    accepted: Array
    log_ratio: Array


class Turn(NamedTuple):
    """Of `rotate`: acceptance and accepted as of Info; where it would have led, and the gradient there, (d,) each."""

    acceptance: Array
    accepted: Array
    end: Array
    gradient: Array


def init(position: Array, log_density: Callable[[Array], Array]) -> State:
    """The state at a position."""
    return State(position, log_density(position))


def metropolis(key: Array, proposal: Place, state: Place, log_ratio: Array) -> tuple[Place, Info]:
    """Accept the proposal with probability min(1, exp(log_ratio)); a NaN ratio rejects."""
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    accepted = jnp.log(jax.random.uniform(key, dtype=log_ratio.dtype)) < log_ratio
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposal, state)
    return chosen, Info(jnp.exp(jnp.minimum(log_ratio, 0.0)), accepted, log_ratio)


def rotate(
    key: Array,
    state: State,
    log_density: Callable[[Array], Array],
    mean: Array,
    factor: Array,
    angle: Array,
    steps: Array | int = 1,
) -> tuple[State, Turn]:
    """Hamiltonian Monte Carlo whose integrator is exact for N(mean, factor factor^T) (Beskos et al. 2011).

    The flow of the reference Gaussian, a rotation of position and momentum by `angle` a step, is solved exactly; only
    the gradient of log density minus log reference kicks, half before and half after each of the `steps` rotations.
    steps * angle = pi/2 and a Gaussian target: independent draws. steps + 1 gradients.
    """
    value_and_grad = jax.value_and_grad(log_density)
    noise_key, accept_key = jax.random.split(key)
    c, s = jnp.cos(angle), jnp.sin(angle)
    zeta = jax.scipy.linalg.solve_triangular(factor, state.position - mean, lower=True)
    v = jax.random.normal(noise_key, zeta.shape, zeta.dtype)

    def kick(zeta, v, gradient):
        return v + angle / 2 * (factor.T @ gradient + zeta)

    def step(_, carry):
        zeta, v, gradient, _ = carry
        v = kick(zeta, v, gradient)
        zeta, v = c * zeta + s * v, c * v - s * zeta
        value, gradient = value_and_grad(mean + factor @ zeta)
        return zeta, kick(zeta, v, gradient), gradient, value

    start = (zeta, v, value_and_grad(state.position)[1], state.logdensity)
    zeta, new_v, gradient, value = jax.lax.fori_loop(0, steps, step, start)
    proposal = State(mean + factor @ zeta, value)
    kinetic = (jnp.sum(v**2) - jnp.sum(new_v**2)) / 2
    state, info = metropolis(accept_key, proposal, state, proposal.logdensity - state.logdensity + kinetic)
    return state, Turn(info.acceptance, info.accepted, proposal.position, gradient)


class Mixture(NamedTuple):
    """A mixture of multivariate t distributions: means (K, d), lower factors (K, d, d), log weights (K,)."""

    means: Array
    factors: Array
    log_weights: Array
    dof: float = 8.0

    def padded(self, count: int) -> "Mixture":
        """With empty components up to `count` of them, so that one program serves any number."""
        missing = count - len(self.means)
        nothing = jnp.full(missing, -jnp.inf, self.log_weights.dtype)
        return self._replace(
            means=jnp.concatenate([self.means, self.means[:1].repeat(missing, 0)]),
            factors=jnp.concatenate([self.factors, self.factors[:1].repeat(missing, 0)]),
            log_weights=jnp.concatenate([self.log_weights, nothing]),
        )

    def sample(self, key: Array) -> Array:
        """One draw, (d,)."""
        which, normal, chi = jax.random.split(key, 3)
        k = jax.random.categorical(which, self.log_weights)
        z = jax.random.normal(normal, self.means.shape[1:], self.means.dtype)
        scale = jnp.sqrt(self.dof / (2 * jax.random.gamma(chi, self.dof / 2, dtype=self.means.dtype)))
        return self.means[k] + scale * (self.factors[k] @ z)

    def log_density(self, position: Array) -> Array:
        """Normalised."""
        d = position.size
        constant = gammaln((self.dof + d) / 2) - gammaln(self.dof / 2) - d / 2 * jnp.log(self.dof * jnp.pi)

        def component(mean, factor):
            z = jax.scipy.linalg.solve_triangular(factor, position - mean, lower=True)
            log_det = jnp.sum(jnp.log(jnp.diagonal(factor)))
            return -(self.dof + d) / 2 * jnp.log1p(jnp.sum(z**2) / self.dof) - log_det

        terms = jax.vmap(component)(self.means, self.factors)
        return constant + jax.nn.logsumexp(terms + jax.nn.log_softmax(self.log_weights))

    def nearest(self, position: Array) -> Array:
        """The component whose Gaussian of equal weight is densest at a position."""

        def distance(mean, factor):
            z = jax.scipy.linalg.solve_triangular(factor, position - mean, lower=True)
            return jnp.sum(z**2) / 2 + jnp.sum(jnp.log(jnp.diagonal(factor)))

        return jnp.argmin(jax.vmap(distance)(self.means, self.factors))

    def fitted(self, draws: Array) -> "Mixture":
        """Means, covariances and weights of the draws (N, d) nearest to each component, shrunk to the old ones.

        A component keeps its earlier covariance with the weight of 2 d draws; those that no draw is near stay as they
        are, with the weight of half a draw. In double precision, and so not to be compiled.
        """
        d = draws.shape[1]
        label = np.asarray(jax.vmap(self.nearest)(draws))
        means, factors = np.array(self.means, np.float64), np.array(self.factors, np.float64)
        counts = np.bincount(label, minlength=len(means))
        for k in np.flatnonzero(counts > 2):
            mine = np.asarray(draws, np.float64)[label == k]
            means[k] = mine.mean(0)
            away = mine - means[k]
            covariance = (away.T @ away + 2 * d * factors[k] @ factors[k].T) / (counts[k] + 2 * d)
            factors[k] = np.linalg.cholesky(covariance)
        f32 = self.means.dtype
        log_weights = jnp.log(jnp.asarray(counts + 0.5, f32))
        return Mixture(jnp.asarray(means, f32), jnp.asarray(factors, f32), log_weights, self.dof)


def propose(
    key: Array, state: State, log_density: Callable[[Array], Array], position: Array, log_factor: Array
) -> tuple[State, Info]:
    """Metropolis step to a given position; log_factor: log q(state | position) / q(position | state), -inf rejects."""
    proposal = init(position, log_density)
    return metropolis(key, proposal, state, proposal.logdensity - state.logdensity + log_factor)


def jump(key: Array, state: State, log_density: Callable[[Array], Array], mixture: Mixture) -> tuple[State, Info]:
    """Independence Metropolis from a mixture: what carries chains between modes with the right weights."""
    draw_key, accept_key = jax.random.split(key)
    position = mixture.sample(draw_key)
    correction = mixture.log_density(state.position) - mixture.log_density(position)
    return propose(accept_key, state, log_density, position, correction)


def differential(key: Array, state: State, log_density: Callable[[Array], Array], others: Array) -> tuple[State, Info]:
    """Metropolis step along the difference of two of `others` (M, d): differential evolution (ter Braak 2006).

    2.38/sqrt(2 d) of the difference, or one time in ten all of it, which leads from mode to mode. The others must not
    depend on the state, and the step then needs no tuning whatever the density's widths and correlations are.
    """
    pick_key, size_key, noise_key, accept_key = jax.random.split(key, 4)
    d = state.position.size
    a, b = others[jax.random.choice(pick_key, len(others), (2,), replace=False)]
    whole = jax.random.bernoulli(size_key, 0.1)
    size = jnp.where(whole, 1.0, 2.38 / jnp.sqrt(2.0 * d))
    # the noise makes every place reachable, however few the others are
    position = state.position + size * (a - b) + 1e-4 * jax.random.normal(noise_key, (d,), state.position.dtype)
    return propose(accept_key, state, log_density, position, jnp.zeros((), state.logdensity.dtype))
