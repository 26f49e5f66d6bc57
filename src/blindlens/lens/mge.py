"""The lens galaxy's own light as a multi-Gaussian expansion with linear amplitudes (Cappellari 2002)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from .light import gaussians
from .parameters import ParameterSpace, Polar, Uniform


class MultiGaussian(eqx.Module):
    """G a = sum_k (mix a)_k amplitude exp(-R^2 / (2 sigma_k^2)), R^2 = q x'^2 + y'^2 / q, x' along the major axis.

    sigmas: (k,) arcsec. amplitude: surface brightness of one Gaussian's peak, data units: the prior sd of each. mix: an
    orthogonal matrix (k, k), which leaves the prior a ~ N(0, I) as it is. Centre, axis ratio and angle are shared and
    sampled beside the lens: x_light, y_light (arcsec), q_light, phi_light (radians).
    """

    sigmas: Array
    amplitude: Array
    mix: Array

    @staticmethod
    def spanning(inner: float, outer: float, count: int, amplitude: float) -> "MultiGaussian":
        """Widths from `inner` to `outer` arcsec, equally spaced in the logarithm."""
        return MultiGaussian(
            jnp.asarray(np.geomspace(inner, outer, count)), jnp.asarray(amplitude, float), jnp.eye(count)
        )

    def mixed(self, shape: dict[str, float], x, y, weight) -> "MultiGaussian":
        """The same light with components that are orthogonal for a typical `shape` and pixels of that weight (ny, nx).

        Gaussians of neighbouring widths are nearly the same image, in the sum of squares by more digits than single
        precision has; in an orthogonal mixture each component's own size is kept, however small. x, y: (s*s, ny, nx).
        """
        p = {name: jnp.asarray(value) for name, value in shape.items()}
        images = np.asarray(self.images(p, x, y) * weight, np.float64).reshape(len(self.sigmas), -1)
        return eqx.tree_at(lambda light: light.mix, self, self.mix @ np.linalg.svd(images, full_matrices=False)[0])

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
        return jnp.einsum("kyx,ka->ayx", peak * jnp.mean(unit_flux, 1), self.mix, precision="highest")
