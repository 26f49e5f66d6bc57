"""The lens galaxy's own light as a multi-Gaussian expansion with linear amplitudes (Cappellari 2002)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from .lens_light import LensLight, centre_space, ellipse, typical
from .light import gaussians
from .parameters import ParameterSpace


class MultiGaussian(LensLight):
    """G a = sum_k (mix a)_k amplitude exp(-R^2 / (2 sigma_k^2)), R^2 = q x'^2 + y'^2 / q, x' along the major axis.

    sigmas: (k,) arcsec, those of one set. amplitude: surface brightness of one Gaussian's peak, data units: the prior
    sd, of all or of each (k,). mix: an orthogonal matrix (s k, s k), which leaves the prior a ~ N(0, I) as it is.
    sets: s, each with an axis ratio and an angle of its own round one centre: isophotes may twist, and change their
    flattening. Sampled beside the lens: x_light, y_light (arcsec), q_light, phi_light (radians), q_light2, phi_light2.
    """

    sigmas: Array
    amplitude: Array
    mix: Array
    sets: int = eqx.field(static=True, default=1)

    @staticmethod
    def spanning(inner: float, outer: float, count: int, amplitude: float, sets: int = 1) -> "MultiGaussian":
        """`count` widths a set from `inner` to `outer` arcsec, equally spaced in the logarithm."""
        sigmas = jnp.asarray(np.geomspace(inner, outer, count))
        return MultiGaussian(sigmas, jnp.asarray(amplitude, float), jnp.eye(sets * count), sets)

    def mixed(self, x: Array, y: Array, weight: Array) -> "MultiGaussian":
        """The same light with components that are orthogonal for a typical shape and pixels of that weight (ny, nx).

        Gaussians of neighbouring widths are nearly the same image, in the sum of squares by more digits than single
        precision has; in an orthogonal mixture each component's own size is kept, however small. x, y: (s*s, ny, nx).
        """
        p = {name: jnp.asarray(value) for name, value in typical(self).items()}
        images = np.asarray(self.images(p, x, y) * weight, np.float64).reshape(len(self.mix), -1)
        return eqx.tree_at(lambda light: light.mix, self, self.mix @ np.linalg.svd(images, full_matrices=False)[0])

    def _suffixes(self) -> list[str]:
        return [str(k + 1) if k else "" for k in range(self.sets)]

    def space(self) -> ParameterSpace:
        return centre_space() + ParameterSpace(tuple(ellipse(suffix) for suffix in self._suffixes()))

    def alike(self) -> tuple[str, ...]:
        return tuple(f"q_light{suffix}" for suffix in self._suffixes()) if self.sets == 2 else ()

    def images(self, p: dict[str, Array], x: Array, y: Array) -> Array:
        shapes = [(p[f"q_light{s}"], p[f"phi_light{s}"]) for s in self._suffixes()]
        centre = (p["x_light"], p["y_light"])
        unit_flux = [jnp.mean(gaussians(self.sigmas, *shape, *centre, x, y), 1) for shape in shapes]
        peak = (self.amplitude * 2 * jnp.pi * self.sigmas**2)[:, None, None]
        images = jnp.concatenate([peak * one for one in unit_flux])
        return jnp.einsum("kyx,ka->ayx", images, self.mix, precision="highest")
