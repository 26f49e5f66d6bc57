"""The lens galaxy's own light as a multi-Gaussian expansion with linear amplitudes (Cappellari 2002)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from .light import gaussians
from .parameters import ParameterSpace, Polar, Uniform


class MultiGaussian(eqx.Module):
    """G a = sum_k a_k amplitude exp(-R^2 / (2 sigma_k^2)), R^2 = q x'^2 + y'^2 / q, x' along the major axis.

    sigmas: (k,) arcsec. amplitude: surface brightness of a_k = 1, data units: the prior sd of each. Centre, axis
    ratio and angle are shared and sampled beside the lens: x_light, y_light (arcsec), q_light, phi_light (radians).
    """

    sigmas: Array
    amplitude: Array

    @staticmethod
    def spanning(inner: float, outer: float, count: int, amplitude: float) -> "MultiGaussian":
        """Widths from `inner` to `outer` arcsec, equally spaced in the logarithm."""
        return MultiGaussian(jnp.asarray(np.geomspace(inner, outer, count)), jnp.asarray(amplitude, float))

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
        unit_flux = gaussians(self.sigmas, p["q_light"], p["phi_light"], p["x_light"], p["y_light"], x, y)
        peak = self.amplitude * 2 * jnp.pi * self.sigmas[:, None, None] ** 2
        return peak * jnp.mean(unit_flux, 1)
