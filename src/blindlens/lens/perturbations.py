"""What a smooth main lens is perturbed by: external shear and multipoles."""

import re
from typing import Self

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .components import Component, Parameter, Params, Setting


def shear(p: Params, x: Array, y: Array) -> tuple[Array, Array]:
    """External shear about (0, 0): psi = gamma_1 (x^2 - y^2)/2 + gamma_2 x y."""
    return p["gamma_1"] * x + p["gamma_2"] * y, p["gamma_2"] * x - p["gamma_1"] * y


def multipole(p: Params, x: Array, y: Array, m: int) -> tuple[Array, Array]:
    """Circular multipole about (x0, y0): psi = r a_m/(1 - m^2) cos m(angle - phi_m); a_m in arcsec, not times Rein.

    A ray at the very centre is not deflected and has a zero gradient.
    """
    dx, dy = x - p["x0"], y - p["y0"]
    r2 = dx**2 + dy**2
    centre = r2 < 1e-14
    r = jnp.sqrt(jnp.where(centre, 1.0, r2))
    ur, ui = jnp.where(centre, 1.0, dx) / r, jnp.where(centre, 0.0, dy) / r
    # (u e^{-i phi_m})^m by products: cheaper than arctan2 and a cosine for every ray
    cr, ci = jnp.cos(m * p[f"phi_{m}"]), -jnp.sin(m * p[f"phi_{m}"])
    for _ in range(m):
        cr, ci = cr * ur - ci * ui, cr * ui + ci * ur
    a = jnp.where(centre, 0.0, p[f"a_{m}"] / (1 - m**2))
    radial, tangential = a * cr, -a * m * ci
    return radial * ur - tangential * ui, radial * ui + tangential * ur


class Shear(Component):
    """`shear`: gamma_1 gamma_2."""

    name: str = eqx.field(static=True, default="shear")
    known = "shear"

    @classmethod
    def named(cls, name: str, setting: Setting) -> Self | None:
        return cls() if name == "shear" else None

    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(Parameter(f"gamma_{i}", -0.1, 0.1, -1.0, 1.0) for i in (1, 2))

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        return shear(p, x, y)


class Multipole(Component):
    """`multipole<m>`, m >= 2: a_m phi_m, about the main component's centre."""

    m: int = eqx.field(static=True)
    needs = ("x0", "y0")
    known = "multipole2, multipole3, ..."

    @property
    def name(self) -> str:
        return f"multipole{self.m}"

    @classmethod
    def named(cls, name: str, setting: Setting) -> Self | None:
        found = re.fullmatch(r"multipole([2-9]|[1-9]\d)", name)
        return cls(int(found[1])) if found else None

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter(f"a_{self.m}", 0.0, 0.02, 0.0, unit="arcsec", angle=f"phi_{self.m}", fold=self.m),)

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        return multipole(p, x, y, self.m)
