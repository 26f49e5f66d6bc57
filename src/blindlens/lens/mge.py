"""The lens galaxy's own light as a multi-Gaussian expansion with linear amplitudes (Cappellari 2002)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from .parameters import ParameterSpace, Polar, Uniform


class MultiGaussian(eqx.Module):
    """G a = sum_k a_k amplitude exp(-R^2 / (2 sigma_k^2)), R^2 = q x'^2 + y'^2 / q, x' along the major axis.

    sigmas: (k,) arcsec. amplitude: surface brightness of a_k = 1, data units: the prior sd of each component. Centre, axis
    ratio and angle are shared and sampled beside the lens: x_light, y_light (arcsec), q_light, phi_light (radians).
    """

    sigmas: Array
    amplitude: float = eqx.field(static=True)

    @staticmethod
    def spanning(inner: float, outer: float, count: int, amplitude: float) -> "MultiGaussian":
        """Widths from `inner` to `outer` arcsec, equally spaced in the logarithm."""
        return MultiGaussian(jnp.asarray(np.geomspace(inner, outer, count)), float(amplitude))

    @staticmethod
    def space() -> ParameterSpace:
        """Priors of the shape: centre within 0.3 arcsec of the image's, q from 0.3 to 1, any angle."""
        return ParameterSpace(
            (
                Uniform("x_light", -0.3, 0.3, "arcsec"),
                Uniform("y_light", -0.3, 0.3, "arcsec"),
                Polar("q_light", "phi_light", 0.3, 1.0, 2, "high"),
            )
        )

    def images(self, p: dict[str, Array], x: Array, y: Array) -> Array:
        """Images per unit a, averaged over the rays x, y (s*s, ny, nx): (k, ny, nx), before the PSF."""
        dx, dy = x - p["x_light"], y - p["y_light"]
        c, s = jnp.cos(p["phi_light"]), jnp.sin(p["phi_light"])
        q = p["q_light"]
        R2 = q * (c * dx + s * dy) ** 2 + (c * dy - s * dx) ** 2 / q
        return self.amplitude * jnp.mean(jnp.exp(-R2[None] / (2 * self.sigmas[:, None, None, None] ** 2)), 1)
