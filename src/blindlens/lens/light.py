"""Surface brightness of galaxies: Sersic profiles and Gaussians of unit flux.

Both use the elliptical radius of lenstronomy's SERSIC_ELLIPSE and GAUSSIAN_ELLIPSE,
R^2 = q x'^2 + y'^2 / q with x' along the major axis at angle phi: the area inside R is pi R^2 whatever q.
caustics' Sersic measures R along the major axis: its Re is R_e / sqrt(q).
"""

import jax.numpy as jnp
from jax import Array

# b_n - 2n + 1/3 as a polynomial in 1/n, from the first power up: least squares at Chebyshev nodes in 1/n against
# the root of P(2n, b) = 1/2. The asymptotic series of Ciotti & Bertin (1999) starts with 4/405, 46/25515 and is off
# by 2e-4 at n = 0.5.
_B = (9.87680625e-3, 1.79987912e-3, 9.31123923e-5, -9.80491262e-5, 3.38789654e-6, 6.90523649e-6, -1.88994094e-6,
      1.67311352e-7)  # fmt: skip


def sersic_b(n: Array) -> Array:
    """b_n, such that half of the light is inside R_e; absolute error below 1e-8 for 0.36 <= n <= 10."""
    tail = 0.0
    for c in reversed(_B):
        tail = (tail + c) / n
    return 2 * n - 1 / 3 + tail


def elliptical_radius2(q: Array, phi: Array, x0: Array, y0: Array, x: Array, y: Array) -> Array:
    """R^2 = q x'^2 + y'^2 / q, arcsec^2."""
    c, s = jnp.cos(phi), jnp.sin(phi)
    dx, dy = x - x0, y - y0
    return q * (c * dx + s * dy) ** 2 + (c * dy - s * dx) ** 2 / q


def sersic(p: dict[str, Array], x: Array, y: Array) -> Array:
    """I(R) = I_e exp(-b_n ((R / R_e)^(1/n) - 1)); p: I_e n R_e q phi x0 y0, R_e in arcsec.

    The gradient at the centre itself, a cusp for n > 1/2, is zero in position.
    """
    r2 = elliptical_radius2(p["q"], p["phi"], p["x0"], p["y0"], x, y)
    centre = r2 < 1e-20
    power = jnp.exp((0.5 * jnp.log(jnp.where(centre, 1.0, r2)) - jnp.log(p["R_e"])) / p["n"])
    return p["I_e"] * jnp.exp(-sersic_b(p["n"]) * (jnp.where(centre, 0.0, power) - 1))


def gaussians(sigmas: Array, q: Array, phi: Array, x0: Array, y0: Array, x: Array, y: Array) -> Array:
    """exp(-R^2 / (2 sigma_k^2)) / (2 pi sigma_k^2), flux 1 each, per arcsec^2: (k, ...) for sigmas (k,) in arcsec.

    A basis for multi-Gaussian expansions (Cappellari 2002).
    """
    r2 = elliptical_radius2(q, phi, x0, y0, x, y)
    variance = jnp.reshape(sigmas, (-1, *[1] * r2.ndim)) ** 2
    return jnp.exp(-r2 / (2 * variance)) / (2 * jnp.pi * variance)
