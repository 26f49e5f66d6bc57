"""What a component of a lens's mass is: parameters with prior ranges, and a deflection. See docs/mass_models.md."""

import abc
import math
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
from jax import Array

from ..errors import BlindlensError
from .parameters import Block, LogUniform, Polar, Uniform

Params = dict[str, Array]


class Parameter(NamedTuple):
    """A parameter's default prior range (low, high), and the range within which it may be set (least, most).

    Uniform, or log-uniform with `log`; with `angle`, an amplitude that shares a block with that orientation, which has
    the period 2 pi / fold and means nothing at the amplitude's `pole` ("low" or "high").
    """

    name: str
    low: float
    high: float
    least: float = -math.inf
    most: float = math.inf
    unit: str = ""
    log: bool = False
    angle: str = ""
    fold: int = 1
    pole: str = "low"

    def block(self, low: float, high: float, disc: bool = False) -> Block:
        """The prior over a range; disc: of amplitudes with an angle, as in `Polar`. BlindlensError for an impossible
        range.
        """
        if not self.least <= low < high <= self.most:
            raise BlindlensError(
                f"the prior range of {self.name} must be low < high within [{self.least:g}, {self.most:g}], "
                f"not ({low:g}, {high:g})"
            )
        if self.angle:
            return Polar(self.name, self.angle, low, high, self.fold, self.pole, self.unit, disc)
        return (LogUniform if self.log else Uniform)(self.name, low, high, self.unit)


class Setting(NamedTuple):
    """What a component may need to know: the prior ranges set by the user, and the redshifts if known."""

    ranges: dict[str, tuple[float, float]]
    z_lens: float | None = None
    z_source: float | None = None

    def range(self, parameter: Parameter) -> tuple[float, float]:
        """(low, high) as set, else the default."""
        low, high = self.ranges.get(parameter.name, (parameter.low, parameter.high))
        return float(low), float(high)


class Component(eqx.Module):
    """A term of the deflection. `main`: of these a lens has exactly one; multipoles are centred on its (x0, y0).

    A new component is a subclass with its parameters and deflection, named in `mass.KINDS`, or an instance given to
    LensModel(mass=(...)) itself.
    """

    name: eqx.AbstractVar[str]
    main: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    """Parameters of other components that the deflection uses."""
    known: ClassVar[str] = ""
    """The names that `named` understands, in words."""

    @classmethod
    @abc.abstractmethod
    def named(cls, name: str, setting: Setting) -> Self | None:
        """The component of that name, or None if it is not of this kind. BlindlensError for what it lacks."""

    @abc.abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order of the lens's parameter space."""

    @abc.abstractmethod
    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        """The reduced deflection (ax, ay), arcsec, at rays x, y (arcsec); p and rays broadcast."""
