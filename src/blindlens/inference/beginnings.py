"""What a search for lenses hands to a sampler, and where chains begin."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..observation import Observation
from ..sampler.kernels import Mixture
from .evidence import Evidence, Informed, Mode, sources

MOST = 8
"""Modes between which chains jump at the most."""
LIKELY = 10.0
"""Nats below the likeliest mode, by its Laplace approximation, down to which chains begin at a mode."""


def laplace_log_weights(modes: Mode) -> Array:
    """Log weights of the modes in the Laplace approximation, (K,)."""
    log_det = jnp.sum(jnp.log(jnp.diagonal(modes.factor, axis1=1, axis2=2)), 1)
    return jax.nn.log_softmax(modes.log_posterior + log_det)


class Start(NamedTuple):
    """modes: stacked, best first. fov: arcsec. shape: (ny, nx), the part of the image that sees the source. informed:
    the source's directions that the data constrain at the modes. observation: the whole, with what is foreign masked.
    """

    modes: Mode
    fov: float
    shape: tuple[int, int]
    informed: Informed
    observation: Observation


def likely(modes: Mode) -> np.ndarray:
    """Indices of those that count."""
    weights = np.asarray(laplace_log_weights(modes))
    return np.flatnonzero(weights >= weights.max() - LIKELY)


def begun(modes: Mode, chains: int) -> np.ndarray:
    """The mode from which each chain begins: the likely ones in turn, (chains,)."""
    which = likely(modes)
    return which[np.arange(chains) % len(which)]


def likely_mixture(modes: Mode) -> Mixture:
    """The likely modes, equal in weight, as what a jump leads to; always MOST, of which the last are empty."""
    which = likely(modes)[:MOST]
    eta, factor = jnp.asarray(modes.eta)[which], jnp.asarray(modes.factor)[which]
    return Mixture(eta, factor, jnp.zeros(len(which), eta.dtype)).padded(MOST)


def beginnings(keys: Array, full: Evidence, start: Start) -> tuple[Array, Array, Array]:
    """(eta, x, a) of a chain a key, from the modes `begun`: lenses from the Laplace approximation, sources exactly."""
    modes = start.modes
    which = begun(modes, len(keys))
    eta = jax.vmap(lambda k, m, f: m + f @ jax.random.normal(k, m.shape))(keys, modes.eta[which], modes.factor[which])
    return eta, *sources(full, keys, eta)
