"""Deflection angles: elliptical power law, external shear, multipoles, with caustics' parameters and signs.

Every function takes a dict of parameters and ray positions x, y (arcsec), which broadcast, and returns the
reduced deflection (ax, ay) in arcsec. beta = theta - alpha.
"""

import math
import re
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..errors import BlindlensError
from .parameters import ParameterSpace, Polar, Uniform

Params = dict[str, Array]


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


# name: (prior range, what the range may be, unit)
_RANGES = {
    "x0": ((-0.2, 0.2), (-math.inf, math.inf), "arcsec"),
    "y0": ((-0.2, 0.2), (-math.inf, math.inf), "arcsec"),
    "q": ((0.6, 1.0), (0.05, 1.0), ""),
    "Rein": ((0.8, 2.2), (1e-6, math.inf), "arcsec"),
    "t": ((0.8, 1.2), (0.01, 1.99), ""),
    "gamma_1": ((-0.1, 0.1), (-1.0, 1.0), ""),
    "gamma_2": ((-0.1, 0.1), (-1.0, 1.0), ""),
    "a": ((0.0, 0.02), (0.0, math.inf), "arcsec"),
    "xs": ((-0.35, 0.35), (-math.inf, math.inf), "arcsec"),
    "ys": ((-0.35, 0.35), (-math.inf, math.inf), "arcsec"),
}


class LensModel(eqx.Module):
    """The mass of a lens as a sum of components, and the space of its parameters and the source position.

    mass: one of "epl" or "sie" (t = 1), then "shear" and "multipole<m>" (m >= 2) as wanted. ranges: {name:
    (low, high)} in place of the default uniform priors; angles always cover their period. Raises BlindlensError
    for unknown components, names and impossible ranges. The axis ratio's lower end sets the terms of the EPL series.
    """

    space: ParameterSpace
    mass: tuple[str, ...] = eqx.field(static=True)
    terms: int = eqx.field(static=True)

    def __init__(
        self,
        mass: tuple[str, ...] = ("epl", "shear", "multipole3"),
        ranges: dict[str, tuple[float, float]] | None = None,
    ):
        self.mass = tuple(mass)
        ms = [int(c[9:]) for c in self.mass if re.fullmatch(r"multipole([2-9]|[1-9]\d)", c)]
        known = {"epl", "sie", "shear"} | {f"multipole{m}" for m in ms}
        wrong = [c for c in self.mass if c not in known]
        if wrong:
            raise BlindlensError(
                f"unknown mass component {wrong[0]!r}: the known ones are epl, sie, shear, multipole2, multipole3, ..."
            )
        if len(set(self.mass)) < len(self.mass) or ("epl" in self.mass) + ("sie" in self.mass) != 1:
            raise BlindlensError(f"a lens has exactly one of epl and sie, and nothing twice, unlike {self.mass}")

        defaults = {n: r for n, r in _RANGES.items() if n != "a"} | {f"a_{m}": _RANGES["a"] for m in ms}
        if "sie" in self.mass:
            del defaults["t"]
        if "shear" not in self.mass:
            del defaults["gamma_1"], defaults["gamma_2"]
        ranges = dict(ranges or {})
        for name, (low, high) in ranges.items():
            if name not in defaults:
                raise BlindlensError(f"no prior range can be set for {name!r}: the names are {list(defaults)}")
            least, most = defaults[name][1]
            if not least <= low < high <= most:
                raise BlindlensError(
                    f"the prior range of {name} must be low < high within [{least:g}, {most:g}], "
                    f"not ({low:g}, {high:g})"
                )

        def uniform(name):
            return Uniform(name, *ranges.get(name, defaults[name][0]), defaults[name][2])

        def polar(name, angle, fold, pole):
            return Polar(name, angle, *ranges.get(name, defaults[name][0]), fold, pole, defaults[name][2])

        blocks = [uniform("x0"), uniform("y0"), polar("q", "phi", 2, "high")]
        blocks += [uniform(n) for n in ("Rein", "t", "gamma_1", "gamma_2") if n in defaults]
        blocks += [polar(f"a_{m}", f"phi_{m}", m, "low") for m in ms]
        self.space = ParameterSpace((*blocks, uniform("xs"), uniform("ys")))
        low_q = ranges.get("q", defaults["q"][0])[0]
        high_t = ranges.get("t", _RANGES["t"][0])[1]
        self.terms = series_terms(low_q, high_t)

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        """The summed deflection (ax, ay), arcsec."""
        ax, ay = jnp.zeros(()), jnp.zeros(())
        for component in self.mass:
            if component == "epl":
                a = epl(p, x, y, self.terms)
            elif component == "sie":
                a = epl({**p, "t": 1.0}, x, y, self.terms)
            elif component == "shear":
                a = shear(p, x, y)
            else:
                a = multipole(p, x, y, int(component[9:]))
            ax, ay = ax + a[0], ay + a[1]
        return ax, ay

    def ray_shoot(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        """beta = theta - alpha(theta); the source position (xs, ys) is left to the operator."""
        ax, ay = self.deflection(p, x, y)
        return x - ax, y - ay

    def jacobian(self, p: Params, x: Array, y: Array) -> Array:
        """A_ij = d beta_i / d theta_j, shape (2, 2, ...)."""
        one, zero = jnp.ones_like(x), jnp.zeros_like(x)
        columns = [jax.jvp(lambda x, y: self.ray_shoot(p, x, y), (x, y), v)[1] for v in ((one, zero), (zero, one))]
        return jnp.stack([jnp.stack(c) for c in columns], 1)

    def magnification(self, p: Params, x: Array, y: Array) -> Array:
        """1 / det A, negative where the image is mirrored."""
        a = self.jacobian(p, x, y)
        return 1 / (a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])
