"""Metropolis kernels for a density that is nearly a known Gaussian, or nearly a mixture of known Gaussians."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class State(NamedTuple):
    """position (d,), log density there and its gradient (d,)."""

    position: Array
    logdensity: Array
    gradient: Array


class Info(NamedTuple):
    """acceptance: probability; accepted: bool."""

    acceptance: Array
    accepted: Array


def init(position: Array, log_density: Callable[[Array], Array]) -> State:
    """The state at a position."""
    return State(position, *jax.value_and_grad(log_density)(position))


def metropolis(key: Array, proposal: State, state: State, log_ratio: Array) -> tuple[State, Info]:
    """Accept the proposal with probability min(1, exp(log_ratio)); a NaN ratio rejects."""
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    accepted = jnp.log(jax.random.uniform(key, dtype=log_ratio.dtype)) < log_ratio
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposal, state)
    return chosen, Info(jnp.exp(jnp.minimum(log_ratio, 0.0)), accepted)


def rotate(
    key: Array, state: State, log_density: Callable[[Array], Array], mean: Array, factor: Array, angle: Array
) -> tuple[State, Info]:
    """One step of Hamiltonian Monte Carlo that is exact for N(mean, factor factor^T) (Beskos et al. 2011).

    The flow of the reference Gaussian, a rotation of position and momentum by `angle`, is solved exactly; only the
    gradient of log density minus log reference kicks. angle = pi/2 and a Gaussian target: independent draws.
    """
    noise_key, accept_key = jax.random.split(key)
    zeta = jax.scipy.linalg.solve_triangular(factor, state.position - mean, lower=True)
    v = jax.random.normal(noise_key, zeta.shape, zeta.dtype)
    kick = v + angle / 2 * (factor.T @ state.gradient + zeta)
    new_zeta = jnp.cos(angle) * zeta + jnp.sin(angle) * kick
    turned = jnp.cos(angle) * kick - jnp.sin(angle) * zeta
    proposal = init(mean + factor @ new_zeta, log_density)
    new_v = turned + angle / 2 * (factor.T @ proposal.gradient + new_zeta)
    kinetic = (jnp.sum(v**2) - jnp.sum(new_v**2)) / 2
    return metropolis(accept_key, proposal, state, proposal.logdensity - state.logdensity + kinetic)


class Mixture(NamedTuple):
    """A mixture of multivariate t distributions: means (K, d), lower factors (K, d, d), log weights (K,)."""

    means: Array
    factors: Array
    log_weights: Array
    dof: float = 8.0

    def sample(self, key: Array) -> Array:
        """One draw, (d,)."""
        which, normal, chi = jax.random.split(key, 3)
        k = jax.random.categorical(which, self.log_weights)
        z = jax.random.normal(normal, self.means.shape[1:], self.means.dtype)
        scale = jnp.sqrt(self.dof / (2 * jax.random.gamma(chi, self.dof / 2, dtype=self.means.dtype)))
        return self.means[k] + scale * (self.factors[k] @ z)

    def log_density(self, position: Array) -> Array:
        """Up to a constant."""
        d = position.size

        def component(mean, factor):
            z = jax.scipy.linalg.solve_triangular(factor, position - mean, lower=True)
            log_det = jnp.sum(jnp.log(jnp.diagonal(factor)))
            return -(self.dof + d) / 2 * jnp.log1p(jnp.sum(z**2) / self.dof) - log_det

        terms = jax.vmap(component)(self.means, self.factors)
        return jax.nn.logsumexp(terms + jax.nn.log_softmax(self.log_weights))


def jump(
    key: Array, state: State, log_density: Callable[[Array], Array], mixture: Mixture
) -> tuple[State, Info]:
    """Independence Metropolis from a mixture: what carries chains between modes with the right weights."""
    draw_key, accept_key = jax.random.split(key)
    proposal = init(mixture.sample(draw_key), log_density)
    correction = mixture.log_density(state.position) - mixture.log_density(proposal.position)
    return metropolis(accept_key, proposal, state, proposal.logdensity - state.logdensity + correction)
