"""Parameters in their own units as one vector with a uniform density in a box: what plain Langevin steps walk in."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..errors import BlindlensError
from .parameters import LogUniform, ParameterSpace, Polar, Uniform


class Box(eqx.Module):
    """v, (d,): the parameters of a space in their order, log-uniform ones as logarithms; the prior of v is uniform.

    Other than the space's normal coordinates, v has walls, and its angles come round: `inside` and `wrapped`.
    """

    space: ParameterSpace

    def ends(self) -> tuple[Array, Array]:
        """Lowest and highest v, (d,) each. BlindlensError for a prior that is no box."""
        low, high = [], []
        for block in self.space.blocks:
            assert isinstance(block, LogUniform | Uniform | Polar)
            if isinstance(block, Polar) and block.disc:
                raise BlindlensError(f"{block.amplitude} must have a uniform prior for this method; leave disc out")
            logarithm = isinstance(block, LogUniform)
            low.append(jnp.log(block.low) if logarithm else block.low)
            high.append(jnp.log(block.high) if logarithm else block.high)
            if isinstance(block, Polar):
                low.append(0.0)
                high.append(2 * np.pi / block.fold)
        return jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)

    @property
    def angles(self) -> np.ndarray:
        """Which of v are angles, (d,) bool."""
        return np.array([isinstance(b, Polar) and name == b.angle for b in self.space.blocks for name in b.names])

    @property
    def logarithms(self) -> np.ndarray:
        """Which of v are logarithms, (d,) bool."""
        return np.array([isinstance(b, LogUniform) for b in self.space.blocks for _ in b.names])

    def params(self, v: Array) -> dict[str, Array]:
        """Parameters in their own units; v (..., d)."""
        values = jnp.where(self.logarithms, jnp.exp(jnp.where(self.logarithms, v, 0.0)), v)
        return {name: values[..., i] for i, name in enumerate(self.space.names)}

    def vector(self, eta: Array) -> Array:
        """v of normal coordinates (..., d)."""
        p = self.space.from_normal(eta)
        values = jnp.stack([p[name] for name in self.space.names], -1)
        return jnp.where(self.logarithms, jnp.log(jnp.where(self.logarithms, values, 1.0)), values)

    def normal(self, v: Array) -> Array:
        """The normal coordinates of v (..., d), which must lie inside."""
        return self.space.to_normal(self.params(v))

    def inside(self, v: Array) -> Array:
        """Whether all of v (d,) but its angles lies within the walls."""
        low, high = self.ends()
        return jnp.all(self.angles | ((v > low) & (v < high)))

    def wrapped(self, v: Array) -> Array:
        """v with its angles brought into their periods."""
        low, high = self.ends()
        return jnp.where(self.angles, low + jnp.mod(v - low, high - low), v)
