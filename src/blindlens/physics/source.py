"""Fluxes of the source before and after lensing, and its size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..check.summaries import source_summaries
from ..lens.mass import LensModel
from ..lens.operator import LensOperator

SUPERSAMPLING, CORE_RAYS = 2, 8
"""Rays per image pixel and side, everywhere and next to the lens's centre."""


@eqx.filter_jit
def _sums(operator: LensOperator, p: dict[str, Array], sources: Array) -> Array:
    return jax.lax.map(lambda draw: jnp.sum(operator(draw[0]).mv(draw[1])), (p, sources))


def reach(draws: dict[str, np.ndarray], fov: np.ndarray) -> float:
    """Arcsec from the image's centre within which every image of the source's field lies.

    |theta| <= |beta| + |alpha|, where |alpha| is Rein for an isothermal sphere; a third is added for ellipticity, slope
    and shear.
    """
    far = np.hypot(draws["xs"], draws["ys"]) + fov / np.sqrt(2) + draws["Rein"] + np.hypot(draws["x0"], draws["y0"])
    return 1.33 * float(np.max(far))


def fluxes(
    model: LensModel,
    draws: dict[str, np.ndarray],
    sources: np.ndarray,
    fov: np.ndarray,
    pixel_scale: float,
    interpolation: str,
) -> tuple[np.ndarray, np.ndarray]:
    """(lensed, unlensed) flux of each draw, (K,), in data units: sums over image pixels.

    lensed: of A_l x without PSF and mask, over all of the image plane where the source's field is seen; unlensed: of x
    times the area of a source pixel in image pixels. Their ratio is the magnification. draws: {name: (K,)}; sources
    (K, n, n), surface brightness in data units; fov: (K,) arcsec.
    """
    n, side = sources.shape[-1], 2 * int(np.ceil(reach(draws, fov) / pixel_scale))
    operator = LensOperator(
        model, (side, side), pixel_scale, n, 1.0, None, None, SUPERSAMPLING, interpolation=interpolation, core=CORE_RAYS
    )
    p = {name: jnp.asarray(value) for name, value in draws.items()} | {"source_fov": jnp.asarray(fov)}
    lensed = np.asarray(_sums(operator, p, jnp.asarray(sources)), float)
    return lensed, sources.sum((1, 2), dtype=float) * (fov / n / pixel_scale) ** 2


def half_light_radius(sources: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """Arcsec round the centroid within which half of the positive pixels' light lies, (K,)."""
    return source_summaries(sources, fov, np.zeros((len(sources), 2)))["r50"]
