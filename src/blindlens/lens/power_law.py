"""The elliptical power law: `epl`, and `sie` with the slope of an isothermal sphere."""

from functools import partial
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from .components import Component, Parameter, Params, Setting


def series_terms(q: float, t: float = 1.2, tolerance: float = 1e-10) -> int:
    """Terms of the EPL series for a relative error below `tolerance` at axis ratio q (and any rounder one).

    The n-th term has size f^n prod_{k<=n} (2k - 2 + t) / (2k + 2 - t), f = (1 - q)/(1 + q); the rest sums to less
    than the next term over (1 - f).
    """
    f, n, size = (1 - q) / (1 + q), 0, 1.0
    while size / (1 - f) > tolerance:
        n += 1
        size *= f * (2 * n - 2 + t) / (2 * n + 2 - t)
    return max(n - 1, 1)


def _at(coefficients: Array, wr: Array, wi: Array) -> tuple[Array, Array]:
    """sum_n c_n w^n for real c_n, by b_n = c_n + 2 Re(w) b_(n+1) - |w|^2 b_(n+2): no complex products."""
    twice, square = 2 * wr, wr**2 + wi**2
    b1 = b2 = jnp.zeros_like(wr)
    for c in reversed(coefficients[1:]):
        b1, b2 = c + twice * b1 - square * b2, b1
    return coefficients[0] + wr * b1 - square * b2, wi * b1


def _coefficients(t: Array, terms: int) -> tuple[Array, Array, Array]:
    """Of S, dS/dw and dS/dt as polynomials in w, (terms + 1 or terms, *t.shape)."""
    n = jnp.arange(1, terms + 1, dtype=jnp.result_type(t, float)).reshape(-1, *[1] * jnp.ndim(t))
    up, down = 2 * n - 2 + t, 2 * n + 2 - t
    one = jnp.ones((1, *jnp.shape(t)))
    c = jnp.concatenate([one, jnp.cumprod(up / down, 0)])
    return c, n * c[1:], c * jnp.concatenate([0 * one, jnp.cumsum(1 / up + 1 / down, 0)])


# Derivatives by hand: differentiating the sum would keep every partial sum of every ray for the backward pass.
@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _angular_sum(wr: Array, wi: Array, t: Array, terms: int) -> tuple[Array, Array]:
    return _at(_coefficients(t, terms)[0], wr, wi)


@_angular_sum.defjvp
def _angular_sum_jvp(terms, primals, tangents):
    (wr, wi, t), (vr, vi, dt) = primals, tangents
    (sr, si), (dr, di), (er, ei) = (_at(c, wr, wi) for c in _coefficients(t, terms))
    return (sr, si), (dr * vr - di * vi + er * dt, dr * vi + di * vr + ei * dt)


def epl(p: Params, x: Array, y: Array, terms: int) -> tuple[Array, Array]:
    """Elliptical power law, kappa = (2 - t)/2 (Rein sqrt(q) / R)^t with R^2 = q^2 x'^2 + y'^2; x0 y0 q phi Rein t.

    alpha = 2/(1 + q) (Rein sqrt(q)/R)^t z S(w),  z = q x' + i y',  w = -(1 - q)/(1 + q) z/z*,
    S(w) = sum_n w^n prod_{k<=n} (2k - 2 + t)/(2k + 2 - t)     (Tessore & Metcalf 2015, eqs 23, 28, 29),
    x' + i y' = (x - x0 + i (y - y0)) exp(-i phi). A ray at the very centre, where the direction is undefined (and
    the deflection infinite for t > 1), is not deflected and has a zero gradient.
    """
    c, s = jnp.cos(p["phi"]), jnp.sin(p["phi"])
    dx, dy = x - p["x0"], y - p["y0"]
    zr, zi = p["q"] * (c * dx + s * dy), c * dy - s * dx
    r2 = zr**2 + zi**2
    centre = r2 < 1e-14
    zr, zi, r2 = jnp.where(centre, 1.0, zr), jnp.where(centre, 0.0, zi), jnp.where(centre, 1.0, r2)
    f = (1 - p["q"]) / (1 + p["q"])
    wr, wi = -f * (zr**2 - zi**2) / r2, -f * 2 * zr * zi / r2
    sr, si = _angular_sum(wr, wi, p["t"], terms)
    radial = 2 / (1 + p["q"]) * jnp.exp(p["t"] * (jnp.log(p["Rein"]) + 0.5 * jnp.log(p["q"]) - 0.5 * jnp.log(r2)))
    radial = jnp.where(centre, 0.0, radial)
    ar, ai = radial * (zr * sr - zi * si), radial * (zr * si + zi * sr)
    return c * ar - s * ai, s * ar + c * ai


CENTRE = (Parameter("x0", -0.2, 0.2, unit="arcsec"), Parameter("y0", -0.2, 0.2, unit="arcsec"))
SHAPE = Parameter("q", 0.6, 1.0, 0.05, 1.0, angle="phi", fold=2, pole="high")
RADIUS = Parameter("Rein", 0.8, 2.2, 1e-6, unit="arcsec")
SLOPE = Parameter("t", 0.8, 1.2, 0.01, 1.99)


class PowerLaw(Component):
    """`epl`: x0 y0 q phi Rein t; `sie`: the same with t = 1. The axis ratio's lower end sets the series' terms."""

    name: str = eqx.field(static=True)
    terms: int = eqx.field(static=True)
    main = True
    known = "epl, sie"

    @classmethod
    def named(cls, name: str, setting: Setting) -> Self | None:
        if name not in ("epl", "sie"):
            return None
        return cls(name, series_terms(max(setting.range(SHAPE)[0], SHAPE.least), setting.range(SLOPE)[1]))

    def parameters(self) -> tuple[Parameter, ...]:
        return (*CENTRE, SHAPE, RADIUS, *([SLOPE] if self.name == "epl" else []))

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        return epl(p if self.name == "epl" else {**p, "t": 1.0}, x, y, self.terms)
