"""Deflection angles of the lens galaxy, in caustics' conventions; angles in arcsec and radians."""

import math
from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..errors import BlindlensError
from .parameters import ParameterSpace, Polar, Uniform

Params = Mapping[str, Array]


def series_terms(q: float, precision: float = 1e-9) -> int:
    """Terms of the elliptical power law's series for axis ratios >= q: the ratio of terms is below (1-q)/(1+q)."""
    f = (1 - q) / (1 + q)
    return 2 if f < 1e-6 else max(4, math.ceil(math.log(precision) / math.log(f)) + 1)


def epl(p: Params, x: Array, y: Array, terms: int = 16) -> tuple[Array, Array]:
    """Elliptical power law (Tessore & Metcalf 2015): alpha = 2/(1+q) (Rein sqrt(q)/R)^t R Omega, R = |q x' + i y'|.

    Omega = sum_n Omega_n, Omega_0 = e^(i varphi), Omega_n = -f (2n - (2-t))/(2n + (2-t)) e^(2 i varphi) Omega_(n-1),
    f = (1-q)/(1+q). p: x0 y0 q phi Rein t (slope gamma - 1). The deflection of a ray at the centre is zero.
    """
    c, s = jnp.cos(p["phi"]), jnp.sin(p["phi"])
    dx, dy = x - p["x0"], y - p["y0"]
    u, v = p["q"] * (c * dx + s * dy), c * dy - s * dx
    centre = (u == 0) & (v == 0)
    R2 = jnp.where(centre, 1.0, u**2 + v**2)
    R = jnp.sqrt(R2)
    ux, uy = jnp.where(centre, 1.0, u) / R, jnp.where(centre, 0.0, v) / R
    double_x, double_y = ux**2 - uy**2, 2 * ux * uy
    f, t = (1 - p["q"]) / (1 + p["q"]), p["t"]
    wx, wy = ux, uy
    total_x, total_y = wx, wy
    for n in range(1, terms):
        k = -f * (2 * n - (2 - t)) / (2 * n + (2 - t))
        wx, wy = k * (double_x * wx - double_y * wy), k * (double_x * wy + double_y * wx)
        total_x, total_y = total_x + wx, total_y + wy
    strength = 2 / (1 + p["q"]) * (p["Rein"] * jnp.sqrt(p["q"]) / R) ** t * R
    strength = jnp.where(centre, 0.0, strength)
    ax, ay = strength * total_x, strength * total_y
    return c * ax - s * ay, s * ax + c * ay


def shear(p: Params, x: Array, y: Array) -> tuple[Array, Array]:
    """External shear about the image's centre: alpha = (gamma_1 x + gamma_2 y, gamma_2 x - gamma_1 y)."""
    return p["gamma_1"] * x + p["gamma_2"] * y, p["gamma_2"] * x - p["gamma_1"] * y


def multipole(p: Params, x: Array, y: Array, m: int) -> tuple[Array, Array]:
    """psi = r a_m / (1 - m^2) cos m (varphi - phi_m), circular, about (x0, y0); zero for a ray at the centre."""
    dx, dy = x - p["x0"], y - p["y0"]
    centre = (dx == 0) & (dy == 0)
    r = jnp.sqrt(jnp.where(centre, 1.0, dx**2 + dy**2))
    ux, uy = jnp.where(centre, 1.0, dx) / r, jnp.where(centre, 0.0, dy) / r
    cos_m, sin_m = ux, uy
    for _ in range(m - 1):
        cos_m, sin_m = cos_m * ux - sin_m * uy, cos_m * uy + sin_m * ux
    cp, sp = jnp.cos(m * p[f"phi_{m}"]), jnp.sin(m * p[f"phi_{m}"])
    strength = jnp.where(centre, 0.0, p[f"a_{m}"] / (1 - m**2))
    radial = strength * (cos_m * cp + sin_m * sp)
    tangential = -m * strength * (sin_m * cp - cos_m * sp)
    return radial * ux - tangential * uy, radial * uy + tangential * ux


RANGES = {
    "x0": (-0.2, 0.2),
    "y0": (-0.2, 0.2),
    "q": (0.6, 1.0),
    "Rein": (0.8, 2.2),
    "t": (0.8, 1.2),
    "gamma_1": (-0.1, 0.1),
    "gamma_2": (-0.1, 0.1),
    "xs": (-0.35, 0.35),
    "ys": (-0.35, 0.35),
}
MULTIPOLE_RANGE = (0.0, 0.02)


class LensModel(eqx.Module):
    """A sum of mass components with uniform priors: deflection, ray shooting, magnification.

    mass: among "epl", "sie" (an epl with t = 1), "shear", "multipole<m>" with m >= 2. ranges: prior ranges that differ
    from the defaults, {name: (low, high)}. Parameters in order: the components', then the source position xs, ys.
    """

    mass: tuple[str, ...] = eqx.field(static=True)
    space: ParameterSpace
    terms: int = eqx.field(static=True)

    def __init__(
        self,
        mass: tuple[str, ...] = ("epl", "shear", "multipole3"),
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ):
        known = dict(RANGES)
        orders = {name: int(name[9:]) for name in mass if name.startswith("multipole") and name[9:].isdigit()}
        for name in mass:
            if name not in ("epl", "sie", "shear") and orders.get(name, 0) < 2:
                raise BlindlensError(f"unknown mass component {name!r}; known: epl, sie, shear, multipole3, multipole4 ...")
        if ("epl" in mass) == ("sie" in mass) or len(set(mass)) < len(mass):
            raise BlindlensError("a lens needs exactly one of epl and sie, and each component once")
        known |= {f"a_{m}": MULTIPOLE_RANGE for m in orders.values()}
        for name, (low, high) in (ranges or {}).items():
            if name not in known or not low < high:
                raise BlindlensError(f"bad prior range {name}: [{low}, {high}]; ranges exist for {', '.join(known)}")
            known[name] = (float(low), float(high))

        def uniform(name: str, unit: str = "") -> Uniform:
            return Uniform(name, *known[name], unit)

        blocks = [uniform("x0", "arcsec"), uniform("y0", "arcsec"), Polar("q", "phi", *known["q"], 2, "high")]
        blocks.append(uniform("Rein", "arcsec"))
        for name in mass:
            if name == "epl":
                blocks.append(uniform("t"))
            elif name == "shear":
                blocks += [uniform("gamma_1"), uniform("gamma_2")]
            elif name in orders:
                m = orders[name]
                blocks.append(Polar(f"a_{m}", f"phi_{m}", *known[f"a_{m}"], m, "low"))
        blocks += [uniform("xs", "arcsec"), uniform("ys", "arcsec")]
        self.mass, self.space, self.terms = tuple(mass), ParameterSpace(tuple(blocks)), series_terms(known["q"][0])

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        """alpha at rays (x, y), the sum over components."""
        parts = [self._component(name)(p, x, y) for name in self.mass]
        return sum(a for a, _ in parts), sum(a for _, a in parts)  # type: ignore[return-value]

    def _component(self, name: str) -> Callable:
        if name == "epl":
            return lambda p, x, y: epl(p, x, y, self.terms)
        if name == "sie":
            return lambda p, x, y: epl({**p, "t": jnp.ones_like(p["Rein"])}, x, y, self.terms)
        if name == "shear":
            return shear
        return lambda p, x, y: multipole(p, x, y, int(name[9:]))

    def ray_shoot(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        """beta = theta - alpha(theta), relative to the optical axis (not to xs, ys)."""
        ax, ay = self.deflection(p, x, y)
        return x - ax, y - ay

    def jacobian(self, p: Params, x: Array, y: Array) -> Array:
        """d beta_i / d theta_j, (2, 2, ...), by forward-mode differentiation."""
        one, zero = jnp.ones_like(x), jnp.zeros_like(x)
        columns = [jax.jvp(lambda x, y: self.ray_shoot(p, x, y), (x, y), t)[1] for t in ((one, zero), (zero, one))]
        return jnp.stack([jnp.stack([c[i] for c in columns]) for i in range(2)])

    def magnification(self, p: Params, x: Array, y: Array) -> Array:
        """1 / det(d beta / d theta), signed."""
        J = self.jacobian(p, x, y)
        return 1 / (J[0, 0] * J[1, 1] - J[0, 1] * J[1, 0])
