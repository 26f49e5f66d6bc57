"""A dark subhalo at a sampled position: an isothermal sphere, or the sphere of Navarro, Frenk & White by its mass.

Both lie in the plane of the main lens. A ray at the very centre is not deflected and has a zero gradient.
"""

import math
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..errors import BlindlensError
from .components import Component, Parameter, Params, Setting

NEAR = 0.1
"""|1 - (r/r_s)^2| below which the NFW profile is a series, as its closed forms lose their digits at r_s."""
TERMS = 14


def sis(p: Params, x: Array, y: Array) -> tuple[Array, Array]:
    """Singular isothermal sphere, kappa = theta_sub/(2 r), r from (x_sub, y_sub): alpha = theta_sub r^."""
    dx, dy = x - p["x_sub"], y - p["y_sub"]
    r2 = dx**2 + dy**2
    centre = r2 < 1e-14
    a = jnp.where(centre, 0.0, p["theta_sub"] / jnp.sqrt(jnp.where(centre, 1.0, r2)))
    return a * dx, a * dy


def _nfw_mean(r: Array) -> Array:
    """g(r)/r^2 with g = ln(r/2) + arccosh(1/r)/sqrt(1 - r^2), analytic through r = 1; r > 0 in units of r_s.

    The mean convergence within r is 4 kappa_s g/r^2 (Bartelmann 1996). Each form keeps its digits in single precision.
    """
    r2 = r**2
    u = 1 - r2
    inside, outside = u >= NEAR, u <= -NEAR
    # r < 1, with L = ln(2/r) and s = sqrt(u): g = (L (1 - s) + ln((1 + s)/2)) / s
    a = jnp.where(inside, r, 0.5)
    s = jnp.sqrt(1 - a**2)
    within = (jnp.log(2 / a) / (1 + s) + jnp.log1p(-(a**2) / (2 * (1 + s))) / a**2) / s
    b = jnp.where(outside, r, 2.0)
    s = jnp.sqrt(b**2 - 1)
    beyond = (jnp.log(b / 2) + jnp.arctan(s) / s) / b**2
    # artanh(sqrt(u))/sqrt(u) = 1 + u/3 + u^2/5 + ...
    c, v = jnp.where(inside | outside, 1.0, r), jnp.where(inside | outside, 0.0, u)
    series = jnp.zeros_like(v)
    for n in range(TERMS, -1, -1):
        series = 1 / (2 * n + 1) + v * series
    around = (jnp.log(c / 2) + series) / c**2
    return jnp.where(inside, within, jnp.where(outside, beyond, around))


class Halo(NamedTuple):
    """What an NFW halo's lensing takes of a cosmology: rho_200, 200 times the critical density at its redshift, in
    solar masses per cubic arcsec of the lens plane; the critical surface density, in solar masses per square arcsec; z.
    """

    rho_200: float
    sigma_cr: float
    z: float

    @staticmethod
    def at(z_lens: float, z_source: float) -> "Halo":
        """In a flat universe with H0 = 70 km/s/Mpc and Omega_m = 0.3. BlindlensError unless 0 < z_lens < z_source."""
        from astropy import constants, units
        from astropy.cosmology import FlatLambdaCDM

        if not 0 < z_lens < z_source:
            raise BlindlensError(f"redshifts must be 0 < z_lens < z_source, not {z_lens:g} and {z_source:g}")
        cosmology: Any = FlatLambdaCDM(H0=70, Om0=0.3)
        c, G = (getattr(constants, name) for name in ("c", "G"))
        d_l, d_s = (cosmology.angular_diameter_distance(z) for z in (z_lens, z_source))
        d_ls = d_s - d_l * (1 + z_lens) / (1 + z_source)  # of a flat universe
        side = d_l * np.deg2rad(1 / 3600)  # of a square arcsec
        sigma_cr = c**2 / (4 * math.pi * G) * d_s / (d_l * d_ls) * side**2
        rho_200 = 200 * cosmology.critical_density(z_lens) * side**3
        return Halo(float(rho_200.to_value(units.Msun)), float(sigma_cr.to_value(units.Msun)), z_lens)

    def concentration(self, log_m200: Array) -> Array:
        """c_200 of haloes of that mass on average (Dutton & Maccio 2014, their fit for c_200 and M_200)."""
        a = 0.520 + (0.905 - 0.520) * math.exp(-0.617 * self.z**1.21)
        b = -0.101 + 0.026 * self.z
        return 10 ** (a + b * (log_m200 - 12 + math.log10(0.7)))

    def profile(self, log_m200: Array) -> tuple[Array, Array]:
        """r_s in arcsec and kappa_s = rho_s r_s / Sigma_cr."""
        c = self.concentration(log_m200)
        r_200 = 10 ** ((log_m200 - math.log10(4 / 3 * math.pi * self.rho_200)) / 3)
        rho_s = self.rho_200 / 3 * c**3 / (jnp.log1p(c) - c / (1 + c))
        return r_200 / c, rho_s * (r_200 / c) / self.sigma_cr


def nfw(p: Params, x: Array, y: Array, halo: Halo) -> tuple[Array, Array]:
    """NFW sphere of mass 10^log_m200 about (x_sub, y_sub), not truncated: alpha = 4 kappa_s g(r/r_s)/(r/r_s)^2 r."""
    r_s, kappa_s = halo.profile(p["log_m200"])
    dx, dy = x - p["x_sub"], y - p["y_sub"]
    r2 = dx**2 + dy**2
    centre = r2 < 1e-14
    a = 4 * kappa_s * _nfw_mean(jnp.sqrt(jnp.where(centre, 1.0, r2)) / r_s)
    a = jnp.where(centre, 0.0, a)
    return a * dx, a * dy


PLACE = (Parameter("x_sub", -2.5, 2.5, unit="arcsec"), Parameter("y_sub", -2.5, 2.5, unit="arcsec"))


class SISSubhalo(Component):
    """`sis_subhalo`: x_sub y_sub theta_sub, its Einstein radius, log-uniform."""

    name: str = eqx.field(static=True, default="sis_subhalo")
    known = "sis_subhalo"

    @classmethod
    def named(cls, name: str, setting: Setting) -> Self | None:
        return cls() if name == "sis_subhalo" else None

    def parameters(self) -> tuple[Parameter, ...]:
        return (*PLACE, Parameter("theta_sub", 0.001, 0.2, 1e-9, unit="arcsec", log=True))

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        return sis(p, x, y)


class NFWSubhalo(Component):
    """`nfw_subhalo`: x_sub y_sub log_m200, log10 of M_200 in solar masses, uniform; needs the redshifts."""

    halo: Halo = eqx.field(static=True)
    name: str = eqx.field(static=True, default="nfw_subhalo")
    known = "nfw_subhalo"

    @classmethod
    def named(cls, name: str, setting: Setting) -> Self | None:
        if name != "nfw_subhalo":
            return None
        if setting.z_lens is None or setting.z_source is None:
            raise BlindlensError("nfw_subhalo is told by its mass: give lens.z_lens and lens.z_source, the redshifts")
        return cls(Halo.at(setting.z_lens, setting.z_source))

    def parameters(self) -> tuple[Parameter, ...]:
        return (*PLACE, Parameter("log_m200", 8.0, 11.0, 5.0, 14.0, unit="dex(solMass)"))

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        return nfw(p, x, y, self.halo)
