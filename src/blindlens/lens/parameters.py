"""Parameters in normal coordinates: eta ~ N(0, I) for every prior, unbounded, nothing wraps.

A sampler works on eta in R^d, where the prior of every model is the unit Gaussian: no bounds, no Jacobians, and
angles live in a plane with their amplitude, so that 0 and the full period are the same point.
"""

import abc
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.scipy.special import ndtr, ndtri

from ..errors import BlindlensError


def _inside(name: str, value: Array, low: float | Array, high: float | Array) -> None:
    """Refuse concrete values outside [low, high], rounding allowed for."""
    if any(isinstance(number, Tracer) for number in (value, low, high)):
        return
    low, high = float(low), float(high)
    slack = 4 * float(jnp.finfo(value.dtype).eps) * max(abs(low), abs(high))
    checked = np.asarray(value)
    outside = ~((checked >= low - slack) & (checked <= high + slack))
    if outside.any():
        worst = checked[outside].flat[0]
        raise BlindlensError(
            f"{name} = {worst:g} lies outside its prior range [{low:g}, {high:g}]: change the value or the range"
        )


def _open(u: Array) -> Array:
    """u in [0, 1] moved off the ends by one rounding step: the ends sit at infinity."""
    info = jnp.finfo(u.dtype)
    return jnp.clip(u, float(info.tiny), 1 - float(info.epsneg))


class Prior(NamedTuple):
    """The prior of one parameter on [low, high], in plain values.

    kind: uniform; log-uniform; disc, an amplitude of which the density grows from its natural end in proportion to the
    distance; or angle, which has no ends. natural: the end ("low" or "high") that is no choice of range but where the
    amplitude's angle loses its meaning, such as q = 1.
    """

    kind: str
    low: float
    high: float
    unit: str
    natural: str = ""


class Block(eqx.Module):
    """One or two parameters that share `size` normal coordinates."""

    names: eqx.AbstractVar[tuple[str, ...]]
    units: eqx.AbstractVar[tuple[str, ...]]
    size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def from_normal(self, eta: Array, u: Array) -> tuple[Array, ...]:
        """eta (..., size) and u = Phi(eta), likewise uniform on (0, 1) -> one array (...) a name."""

    @abc.abstractmethod
    def to_normal(self, *values: Array) -> Array:
        """The inverse: (..., size). Raises BlindlensError for concrete values outside the prior range."""

    @abc.abstractmethod
    def priors(self) -> tuple[Prior, ...]:
        """One a name."""


class _Single(Block):
    """Shared by the one-parameter blocks: name, range and unit."""

    name: eqx.AbstractVar[str]
    low: eqx.AbstractVar[float | Array]
    high: eqx.AbstractVar[float | Array]
    unit: eqx.AbstractVar[str]
    size: int = eqx.field(static=True, init=False, default=1)

    def __check_init__(self):
        low, high = float(self.low), float(self.high)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise BlindlensError(f"the prior range of {self.name} must be low < high, not ({low}, {high})")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)


class Uniform(_Single):
    """theta = low + (high - low) Phi(eta): uniform on [low, high]."""

    name: str = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    unit: str = eqx.field(static=True, default="")

    def from_normal(self, eta: Array, u: Array) -> tuple[Array, ...]:
        return (self.low + (self.high - self.low) * u[..., 0],)

    def to_normal(self, *values: Array) -> Array:
        (theta,) = values
        _inside(self.name, theta, self.low, self.high)
        return ndtri(_open((theta - self.low) / (self.high - self.low)))[..., None]

    def priors(self) -> tuple[Prior, ...]:
        return (Prior("uniform", self.low, self.high, self.unit),)


class LogUniform(_Single):
    """log theta = log low + log(high / low) Phi(eta): log-uniform on [low, high], low > 0.

    The bounds are arrays, as they come from the data: a program compiled for one image serves the next.
    """

    name: str = eqx.field(static=True)
    low: Array = eqx.field(converter=lambda value: jnp.asarray(value, float))
    high: Array = eqx.field(converter=lambda value: jnp.asarray(value, float))
    unit: str = eqx.field(static=True, default="")

    def __check_init__(self):
        if float(self.low) <= 0:
            raise BlindlensError(f"{self.name} has a log-uniform prior, whose range must be positive, not {self.low}")

    def from_normal(self, eta: Array, u: Array) -> tuple[Array, ...]:
        return (self.low * jnp.exp(jnp.log(self.high / self.low) * u[..., 0]),)

    def to_normal(self, *values: Array) -> Array:
        (theta,) = values
        _inside(self.name, theta, self.low, self.high)
        return ndtri(_open(jnp.log(theta / self.low) / jnp.log(self.high / self.low)))[..., None]

    def priors(self) -> tuple[Prior, ...]:
        return (Prior("log-uniform", float(self.low), float(self.high), self.unit),)


FLAT = 1e-3
"""Of `rates` at the least, which single precision can still divide by."""

NEXT = 1e-3
"""|eta| at which single precision still tells what lies next to the pole of a disc."""


class Polar(Block):
    """An amplitude on [low, high] and an angle, uniform on [0, 2 pi / fold): (q, phi) or (a_m, phi_m).

    U = 1 - exp(-|eta|^2 / 2) is uniform and arg(eta) = fold * angle. eta = 0 is the end of the amplitude at which the
    angle means nothing, `pole` = "high" (q = 1) or "low" (a_m = 0), so that the lens is a continuous function of
    eta. The amplitude's distance from there, as a part of the range, is U: uniform; or with `disc` sqrt(U): uniform in
    the plane of amplitude and angle, for which the lens is smooth at the pole too. Without it the lens goes as
    |eta| eta there, and a posterior round the pole is no ellipse in eta. The angle's gradient is set to zero at
    eta = 0; with `disc` the pole is kept NEXT away, where both gradients are those of the plane.
    """

    amplitude: str = eqx.field(static=True)
    angle: str = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    fold: int = eqx.field(static=True)
    pole: str = eqx.field(static=True)
    unit: str = eqx.field(static=True, default="")
    disc: bool = eqx.field(static=True, default=False)
    size: int = eqx.field(static=True, init=False, default=2)

    def __check_init__(self):
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise BlindlensError(
                f"the prior range of {self.amplitude} must be low < high, not ({self.low}, {self.high})"
            )
        if self.pole not in ("low", "high"):
            raise BlindlensError(f"the pole of {self.amplitude} is 'low' or 'high', not {self.pole!r}")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.amplitude, self.angle)

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit, "rad")

    def from_normal(self, eta: Array, u: Array) -> tuple[Array, ...]:
        a, b = eta[..., 0], eta[..., 1]
        r2 = a**2 + b**2
        if self.disc:
            a = a + jnp.where(r2 < NEXT**2, jax.lax.stop_gradient(NEXT - a), 0.0)
            r2 = a**2 + b**2
        span = self.high - self.low
        at_pole = r2 == 0
        part = -jnp.expm1(-r2 / 2)
        part = jnp.sqrt(part) if self.disc else part
        amplitude = self.low + span * part if self.pole == "low" else self.high - span * part
        turn = jnp.arctan2(jnp.where(at_pole, 0.0, b), jnp.where(at_pole, 1.0, a))
        return amplitude, jnp.where(turn < 0, turn + 2 * jnp.pi, turn) / self.fold

    def to_normal(self, *values: Array) -> Array:
        amplitude, angle = values
        _inside(self.amplitude, amplitude, self.low, self.high)
        from_pole = amplitude - self.low if self.pole == "low" else self.high - amplitude
        part = from_pole / (self.high - self.low)
        u = _open(part**2 if self.disc else part)
        r = jnp.sqrt(-2 * jnp.log1p(-u))
        return jnp.stack([r * jnp.cos(self.fold * angle), r * jnp.sin(self.fold * angle)], -1)

    def priors(self) -> tuple[Prior, ...]:
        amplitude = Prior("disc" if self.disc else "uniform", self.low, self.high, self.unit, natural=self.pole)
        return amplitude, Prior("angle", 0.0, 2 * math.pi / self.fold, "rad")


class ParameterSpace(eqx.Module):
    """An ordered set of blocks, d = `size` normal coordinates in all. `a + b` is the space of both."""

    blocks: tuple[Block, ...]

    def __check_init__(self):
        twice = {n for n in self.names if self.names.count(n) > 1}
        if twice:
            raise BlindlensError(f"parameter {sorted(twice)[0]} is named twice: every name may occur once")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(n for b in self.blocks for n in b.names)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(u for b in self.blocks for u in b.units)

    @property
    def size(self) -> int:
        return sum(b.size for b in self.blocks)

    def block(self, name: str) -> tuple[Block, int]:
        """The block that holds a parameter, and the index of its first normal coordinate."""
        start = 0
        for block in self.blocks:
            if name in block.names:
                return block, start
            start += block.size
        raise BlindlensError(f"there is no parameter {name!r}; the names are {list(self.names)}")

    def priors(self) -> dict[str, Prior]:
        """The prior of every parameter, by name."""
        return dict(zip(self.names, (prior for b in self.blocks for prior in b.priors()), strict=True))

    def __add__(self, other: "ParameterSpace") -> "ParameterSpace":
        return ParameterSpace(self.blocks + other.blocks)

    def from_normal(self, eta: Array) -> dict[str, Array]:
        """eta (..., d) -> {name: (...)}."""
        if eta.shape[-1:] != (self.size,):
            raise BlindlensError(f"normal coordinates must have shape (..., {self.size}), not {eta.shape}")
        # once for all: Phi is a hundred operations, and programs that hold it for each parameter compile for minutes
        params, start, u = {}, 0, ndtr(eta)
        for block in self.blocks:
            own = slice(start, start + block.size)
            values = block.from_normal(eta[..., own], u[..., own])
            params.update(zip(block.names, values, strict=True))
            start += block.size
        return params

    def rates(self, eta: Array) -> Array:
        """d u/d eta, (d,), of coordinates u in which the image changes about as fast everywhere, where in eta it hardly
        does near the ends of a range: u = Phi(eta) of parameters alone, in proportion to which they, or their
        logarithms, go; eta itself of pairs. At least FLAT.
        """
        alone = np.concatenate([np.full(block.size, block.size == 1) for block in self.blocks])
        density = jnp.exp(-(eta**2) / 2) / math.sqrt(2 * math.pi)
        return jnp.where(alone, jnp.maximum(density, FLAT), 1.0)

    def to_normal(self, params: dict[str, Array]) -> Array:
        """{name: (...)} -> eta (..., d). A value at the very edge of its range maps to the last finite eta.

        Raises BlindlensError for missing or unknown names, and for concrete values outside the prior range.
        """
        missing, unknown = set(self.names) - set(params), set(params) - set(self.names)
        if missing or unknown:
            what = f"is missing {sorted(missing)}" if missing else f"has unknown {sorted(unknown)}"
            raise BlindlensError(f"the parameter set {what}; the names are {list(self.names)}")
        dtype = jnp.result_type(float, *(jnp.asarray(params[n]) for n in self.names))
        values = dict(
            zip(self.names, jnp.broadcast_arrays(*(jnp.asarray(params[n], dtype) for n in self.names)), strict=True)
        )
        return jnp.concatenate([b.to_normal(*(values[n] for n in b.names)) for b in self.blocks], -1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> dict[str, Array]:
        """Draws from the prior: {name: shape}."""
        return self.from_normal(jax.random.normal(key, (*shape, self.size)))
