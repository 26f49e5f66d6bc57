"""The area within the tangential critical curve."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..lens.mass import LensModel

DIRECTIONS, HALVINGS = 180, 30


@eqx.filter_jit
def _radii(model: LensModel, p: dict[str, Array]) -> Array:
    """Arcsec from (x0, y0) to the tangential critical curve in DIRECTIONS directions, (K, DIRECTIONS)."""
    turn = 2 * jnp.pi * jnp.arange(DIRECTIONS) / DIRECTIONS

    def eigenvalue(p, r):
        a = model.jacobian(p, p["x0"] + r * jnp.cos(turn), p["y0"] + r * jnp.sin(turn))
        trace, difference = a[0, 0] + a[1, 1], a[0, 0] - a[1, 1]
        return trace / 2 - jnp.sqrt(difference**2 / 4 + a[0, 1] * a[1, 0])

    def one(p):
        # 1 - kappa - |gamma| is negative inside and positive outside
        def halve(ends, _):
            middle = jnp.sqrt(ends[0] * ends[1])
            inside = eigenvalue(p, middle) < 0
            return (jnp.where(inside, middle, ends[0]), jnp.where(inside, ends[1], middle)), None

        start = (0.02 * p["Rein"] + 0 * turn, 5 * p["Rein"] + 0 * turn)
        low, high = jax.lax.scan(halve, start, None, HALVINGS)[0]
        return jnp.sqrt(low * high)

    return jax.lax.map(one, p)


def effective_radius(model: LensModel, draws: dict[str, np.ndarray]) -> np.ndarray:
    """sqrt(area within the tangential critical curve / pi), arcsec, (K,), for draws {name: (K,)} of the whole lens.

    The curve is taken to be seen once in every direction from (x0, y0). For an isothermal ellipsoid alone it is Rein.
    """
    r = np.asarray(_radii(model, {name: jnp.asarray(value) for name, value in draws.items()}), float)
    return np.sqrt(np.mean(r**2, 1))
