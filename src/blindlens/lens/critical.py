"""Critical lines and caustics, for pictures."""

import contourpy
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from .mass import LensModel

# compiled once for all models of a kind, where jax.jit of a model's method would be anew for each
_jacobian, _ray_shoot = eqx.filter_jit(LensModel.jacobian), eqx.filter_jit(LensModel.ray_shoot)


def critical_lines(model: LensModel, p: dict[str, Array], half_width: float, n: int = 400) -> list[np.ndarray]:
    """Contours det A = 0 on an n x n grid over [-half_width, half_width]^2: arrays (k, 2) of x, y in arcsec.

    det A is divided by 1 + |det A| first, which keeps the zeros and tames the centre of the lens. Slopes t > 1
    have no radial critical line.
    """
    axis = jnp.linspace(-half_width, half_width, n)
    x, y = jnp.meshgrid(axis, axis)
    a = _jacobian(model, p, x, y)
    det = a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]
    contours = contourpy.contour_generator(np.asarray(x), np.asarray(y), np.asarray(det / (1 + jnp.abs(det))))
    return [np.asarray(line) for line in contours.lines(0.0)]


def caustics(model: LensModel, p: dict[str, Array], half_width: float, n: int = 400) -> list[np.ndarray]:
    """The critical lines mapped to the source plane, (k, 2) in arcsec, relative to the optical axis."""
    lines = critical_lines(model, p, half_width, n)
    x, y = jnp.asarray(np.concatenate([*lines, np.empty((0, 2))]).T)
    source = np.stack(_ray_shoot(model, p, x, y), -1)
    return np.split(source, np.cumsum([len(k) for k in lines])[:-1]) if lines else []
