"""The same galaxy seen otherwise: turned, mirrored, nearer or farther, brighter or fainter."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from pydantic import Field, field_validator

from ...config import Stage

PAD = 8  # pixels continued beyond the edge before the spline's coefficients are found
FADE = 12  # the light beyond the stamp falls by e over 1/12 of its side
ZOOM = (0.5, 1.25)  # beyond: a stamp mostly of invented surroundings; pixels and noise blown up into blobs


class Augmentation(Stage):
    """What is drawn anew each time an image is seen in training; never for validation. Default: what loses nothing."""

    flips: bool = Field(default=True, description="left-right and up-down, each with probability 1/2")
    rotation: Literal["none", "quarter", "any"] = Field(default="quarter", description="about the stamp's centre")
    zoom: tuple[float, float] = Field(default=(1.0, 1.0), description="log-uniform; below 1 the galaxy is smaller")
    flux: tuple[float, float] = Field(default=(1.0, 1.0), description="log-uniform factor on the brightness")

    @field_validator("zoom", "flux")
    @classmethod
    def _ordered(cls, value: tuple[float, float], info) -> tuple[float, float]:
        low, high = ZOOM if info.field_name == "zoom" else (0.0, np.inf)
        if not (0 < value[0] <= value[1] < np.inf and low <= value[0] and value[1] <= high):
            raise ValueError(f"must be (low, high) with {low:g} <= low <= high <= {high:g}")
        return value


def augment(key: Array, images: Array, augmentation: Augmentation) -> Array:
    """Images (b, n, n) of surface brightness s (not of x, unless M = 0), each changed by a draw of its own.

    Flips and quarter turns permute pixels exactly. Other turns and zooms z are one cubic B-spline interpolation that
    keeps surface brightness, so that a galaxy's radius goes with z and its flux with z^2; for z < 1 pixels are first
    averaged over the larger area they come from, so that detail does not alias. What comes in from outside the stamp
    is the nearest pixel of its edge, fading by e over n / 12 pixels: no cut edges, and 0 around a galaxy that has
    faded within its stamp. The augmentation is static under jit.
    """
    keys = jax.random.split(key, images.shape[0])
    return jax.vmap(lambda k, image: _augment_one(k, image, augmentation))(keys, images)


def augment_set(key: Array, images: np.ndarray, augmentation: Augmentation, batch: int = 256) -> np.ndarray:
    """Each of many images changed once, `batch` at a time."""
    step = jax.jit(augment, static_argnums=2)
    starts = range(0, len(images), batch)
    parts = [np.asarray(step(jax.random.fold_in(key, i), images[i : i + batch], augmentation)) for i in starts]
    return np.concatenate(parts)


def _augment_one(key: Array, image: Array, a: Augmentation) -> Array:
    mirror, turn, angle, zoom, flux = jax.random.split(key, 5)
    if a.flips:
        left, up = jax.random.bernoulli(mirror, 0.5, (2,))
        image = jnp.where(left, image[:, ::-1], image)
        image = jnp.where(up, image[::-1], image)
    if a.rotation != "none":
        image = jnp.stack([jnp.rot90(image, k) for k in range(4)])[jax.random.randint(turn, (), 0, 4)]
    if a.rotation == "any" or a.zoom != (1.0, 1.0):
        part = jax.random.uniform(angle, (), minval=-np.pi / 4, maxval=np.pi / 4) if a.rotation == "any" else 0.0
        image = turned(image, part, _log_uniform(zoom, a.zoom))
    return image * _log_uniform(flux, a.flux) if a.flux != (1.0, 1.0) else image


def _log_uniform(key: Array, bounds: tuple[float, float]) -> Array:
    low, high = np.log(bounds[0]), np.log(bounds[1])
    return jnp.exp(jax.random.uniform(key, (), minval=low, maxval=high)) if high > low else jnp.float32(bounds[0])


def turned(image: Array, angle: Array | float, zoom: Array | float) -> Array:
    """The image (n, n) turned counter-clockwise by `angle` and magnified by `zoom` about its centre (see `augment`)."""
    n = image.shape[0]
    # A mean over w x w pixels is f + (w^2 - 1) / 24 Laplacian f beyond the mean over one: a [v/2, 1 - v, v/2] kernel.
    v = jnp.maximum(1 / jnp.asarray(zoom) ** 2 - 1, 0) / 12
    padded = jnp.pad(image, PAD, mode="edge")
    smooth = jnp.eye(n + 2 * PAD) * (1 - v) + (jnp.eye(n + 2 * PAD, k=1) + jnp.eye(n + 2 * PAD, k=-1)) * (v / 2)
    both = jnp.asarray(_prefilter(n + 2 * PAD)) @ smooth
    coefficients = jnp.matmul(jnp.matmul(both, padded, precision="highest"), both.T, precision="highest")
    axis = jnp.arange(n) - (n - 1) / 2
    c, s = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    x = c * axis[None, :] + s * axis[:, None]
    y = c * axis[:, None] - s * axis[None, :]
    half = (n - 1) / 2
    outside = jnp.hypot(jnp.maximum(jnp.abs(x) - half, 0), jnp.maximum(jnp.abs(y) - half, 0))
    x, y = (jnp.clip(q, -half, half) + half + PAD for q in (x, y))
    return _spline(coefficients, y, x) * jnp.exp(-outside * FADE / n)


def _prefilter(size: int) -> np.ndarray:
    """(size, size): samples to coefficients of the interpolating cubic B-spline, mirrored at the ends."""
    samples = (4 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)) / 6
    samples[0, 1] = samples[-1, -2] = 1 / 3
    return np.linalg.inv(samples).astype(np.float32)


def _spline(coefficients: Array, row: Array, column: Array) -> Array:
    def taps(at: Array) -> tuple[Array, tuple[Array, ...]]:
        base = jnp.floor(at)
        t = at - base
        weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t * (1 + t - t**2)) + 1, t**3)
        return base.astype(int) - 1, tuple(w / 6 for w in weights)

    i, down = taps(row)
    j, across = taps(column)
    return sum(
        (down[p] * across[q] * coefficients[i + p, j + q] for p in range(4) for q in range(4)),
        start=jnp.zeros_like(row),
    )
