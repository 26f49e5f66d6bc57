"""Parameters in normal coordinates: the prior of eta is exactly N(0, I), so nothing has a bound and nothing wraps."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri

from ..errors import BlindlensError


class Block(eqx.Module):
    """One or two parameters that share normal coordinates."""

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]: ...

    @property
    @abc.abstractmethod
    def units(self) -> tuple[str, ...]: ...

    @abc.abstractmethod
    def from_normal(self, eta: Array) -> tuple[Array, ...]:
        """(..., len(names)) to one array (...) per name."""

    @abc.abstractmethod
    def to_normal(self, *values: Array) -> Array:
        """The inverse, (..., len(names)); NaN outside the prior's range."""

    @abc.abstractmethod
    def range(self) -> str:
        """The prior in words, for error messages."""


class Uniform(Block):
    """theta = low + (high - low) Phi(eta): uniform on [low, high]."""

    name: str = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    unit: str = eqx.field(static=True, default="")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def from_normal(self, eta: Array) -> tuple[Array, ...]:
        return (self.low + (self.high - self.low) * ndtr(eta[..., 0]),)

    def to_normal(self, *values: Array) -> Array:
        return ndtri((jnp.asarray(values[0]) - self.low) / (self.high - self.low))[..., None]

    def range(self) -> str:
        return f"{self.name} in [{self.low:g}, {self.high:g}]"


class LogUniform(Block):
    """log theta = log low + log(high/low) Phi(eta)."""

    name: str = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    unit: str = eqx.field(static=True, default="")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def from_normal(self, eta: Array) -> tuple[Array, ...]:
        return (self.low * jnp.exp(math.log(self.high / self.low) * ndtr(eta[..., 0])),)

    def to_normal(self, *values: Array) -> Array:
        u = jnp.log(jnp.asarray(values[0]) / self.low) / math.log(self.high / self.low)
        return ndtri(u)[..., None]

    def range(self) -> str:
        return f"{self.name} in [{self.low:g}, {self.high:g}]"


class Polar(Block):
    """An amplitude uniform on [low, high] and an angle uniform on [0, 2 pi / fold), such as (q, phi) or (a_3, phi_3).

    Two normals: U = 1 - exp(-|eta|^2 / 2) is uniform and arg(eta) = fold * angle. `pole` names the end of the amplitude
    at which the angle loses its meaning ("high" for an axis ratio, "low" for a multipole's strength): it sits at
    eta = 0, where the map is continuous; the gradient there is finite (the angle's is zero).
    """

    amplitude: str = eqx.field(static=True)
    angle: str = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    fold: int = eqx.field(static=True)
    pole: str = eqx.field(static=True)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.amplitude, self.angle)

    @property
    def units(self) -> tuple[str, ...]:
        return ("", "rad")

    @property
    def _ends(self) -> tuple[float, float]:
        return (self.low, self.high) if self.pole == "low" else (self.high, self.low)

    def from_normal(self, eta: Array) -> tuple[Array, ...]:
        first, last = self._ends
        squared = jnp.sum(eta**2, -1)
        amplitude = first - (last - first) * jnp.expm1(-squared / 2)
        at_pole = squared == 0
        angle = jnp.arctan2(jnp.where(at_pole, 0.0, eta[..., 1]), jnp.where(at_pole, 1.0, eta[..., 0]))
        return amplitude, jnp.mod(angle, 2 * jnp.pi) / self.fold

    def to_normal(self, *values: Array) -> Array:
        amplitude, angle = (jnp.asarray(v) for v in values)
        first, last = self._ends
        radius = jnp.sqrt(-2 * jnp.log1p(-(amplitude - first) / (last - first)))
        return jnp.stack([radius * jnp.cos(self.fold * angle), radius * jnp.sin(self.fold * angle)], -1)

    def range(self) -> str:
        return f"{self.amplitude} in [{self.low:g}, {self.high:g})"


class ParameterSpace(eqx.Module):
    """Blocks of parameters side by side: dictionaries of named values <-> eta (..., d) ~ N(0, I)."""

    blocks: tuple[Block, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for block in self.blocks for name in block.names)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(unit for block in self.blocks for unit in block.units)

    @property
    def size(self) -> int:
        return len(self.names)

    def __add__(self, other: "ParameterSpace") -> "ParameterSpace":
        return ParameterSpace(self.blocks + other.blocks)

    def from_normal(self, eta: Array) -> dict[str, Array]:
        """(..., d) to a dictionary of (...) values in their own units."""
        values, start = {}, 0
        for block in self.blocks:
            stop = start + len(block.names)
            values.update(zip(block.names, block.from_normal(eta[..., start:stop]), strict=True))
            start = stop
        return values

    def to_normal(self, params: dict[str, Array]) -> Array:
        """The inverse, (..., d). BlindlensError for missing or unknown names and for values outside the prior."""
        unknown, missing = set(params) - set(self.names), set(self.names) - set(params)
        if unknown or missing:
            raise BlindlensError(
                f"lens parameters should be {', '.join(self.names)}; "
                f"missing: {sorted(missing) or 'none'}, unknown: {sorted(unknown) or 'none'}"
            )
        parts = []
        for block in self.blocks:
            part = block.to_normal(*(params[name] for name in block.names))
            if not isinstance(part, jax.core.Tracer) and not np.isfinite(part).all():
                raise BlindlensError(f"the prior allows {block.range()}; got {[params[n] for n in block.names]}")
            parts.append(part)
        return jnp.concatenate(jnp.broadcast_arrays(*parts) if len(set(p.shape for p in parts)) == 1 else parts, -1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> dict[str, Array]:
        """Draws from the prior, each (*shape)."""
        return self.from_normal(jax.random.normal(key, (*shape, self.size)))
