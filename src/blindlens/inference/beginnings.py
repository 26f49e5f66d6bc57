"""What a search for lenses hands to a sampler, and where chains begin."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..observation import Observation
from .evidence import Evidence, Informed, Mode, sources

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


def begun(modes: Mode, chains: int) -> np.ndarray:
    """The mode from which each chain begins: the likely ones in turn, (chains,)."""
    weights = np.asarray(laplace_log_weights(modes))
    likely = np.flatnonzero(weights >= weights.max() - LIKELY)
    return likely[np.arange(chains) % len(likely)]


def beginnings(keys: Array, full: Evidence, start: Start) -> tuple[Array, Array, Array]:
    """(eta, x, a) of a chain a key, from the modes `begun`: lenses from the Laplace approximation, sources exactly."""
    modes = start.modes
    which = begun(modes, len(keys))
    eta = jax.vmap(lambda k, m, f: m + f @ jax.random.normal(k, m.shape))(keys, modes.eta[which], modes.factor[which])
    return eta, *sources(full, keys, eta)
