"""A_l: from a pixelated source to the lensed, blurred image."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..errors import BlindlensError
from ..linear import LinearOperator
from .blur import Blur
from .interpolation import INTERPOLATIONS, coefficients, interpolate, interpolate_for_gradients
from .mass import LensModel

CORE = 0.45
"""Half-width in arcsec of the part round the image's centre that `core` is for: where the lens's centre may lie, and as
much again."""


class Rays(eqx.Module):
    """s x s rays for each pixel of a block of the image whose first pixel is `corner` (row, column).

    x, y: (s*s, rows, columns) arcsec. The sub-rays lead, so that their sum is a loop which needs one image of memory.
    """

    x: Array
    y: Array
    corner: tuple[int, int] = eqx.field(static=True)

    @staticmethod
    def grid(shape: tuple[int, int], pixel_scale: float, s: int, half: float = np.inf) -> "Rays":
        """The pixels of an image of that shape which reach no further than `half` arcsec from its centre."""
        sub = (np.arange(s) - (s - 1) / 2) / s
        dy, dx = (d.reshape(-1, 1, 1) for d in np.meshgrid(sub, sub, indexing="ij"))
        kept, corner = [], []
        for n in shape:
            axis = np.arange(n) - (n - 1) / 2
            inside = np.flatnonzero(pixel_scale * (np.abs(axis) + 0.5) <= half)
            kept.append(axis[inside])
            corner.append(int(inside[0]) if len(inside) else 0)
        rows, cols = kept
        x = pixel_scale * (cols[None, None, :] + dx + 0 * rows[None, :, None])
        y = pixel_scale * (rows[None, :, None] + dy + 0 * cols[None, None, :])
        return Rays(jnp.asarray(x), jnp.asarray(y), (corner[0], corner[1]))


class LensOperator(eqx.Module):
    """The family {A_l}: `LensOperator(...)(params)` is the LinearOperator A_l for one lens.

    (A_l x)(pixel) = PSF * mean over s x s rays theta of x(beta(theta) - (xs, ys)), x a surface through the n x n pixel
    values of a grid of side `fov` centred on (xs, ys), zero outside.

    lens: the mass model. shape: (ny, nx) of the image. pixel_scale: arcsec. psf: odd kernel or None. n: source
    pixels a side. fov: source field, arcsec. mask: True where the image is used; rays are traced everywhere, masked
    pixels come out as zero. supersampling: rays per pixel and side. core: the same within CORE arcsec of the image's
    centre, where the deflection is singular and single rays sweep over the source; None: no other number.
    interpolation: "bilinear", or "cubic" for the interpolating spline, twice differentiable in the lens. log p(y | l)
    ripples at the period of a source pixel: less with cubic than with bilinear, less with 2 rays than with 1 (cubic),
    no less with 4 (docs/ripple.md).
    """

    lens: LensModel
    rays: tuple[Rays, ...]
    blur: Blur | None
    mask: Array | None
    fov: Array
    shape: tuple[int, int] = eqx.field(static=True)
    n: int = eqx.field(static=True)
    interpolation: str = eqx.field(static=True)

    def __init__(
        self,
        lens: LensModel,
        shape: tuple[int, int],
        pixel_scale: float,
        n: int,
        fov: float | Array,
        psf=None,
        mask=None,
        supersampling: int = 2,
        psf_method: str = "auto",
        interpolation: str = "bilinear",
        core: int | None = None,
    ):
        if min(supersampling, core or 1) < 1 or n < 2 or min(shape) < 1:
            raise BlindlensError("supersampling must be >= 1, the source >= 2 pixels a side, the image not empty")
        if interpolation not in INTERPOLATIONS:
            raise BlindlensError(f"the source is interpolated by one of {INTERPOLATIONS}, not {interpolation!r}")
        self.lens, self.shape, self.n, self.interpolation = lens, (shape[0], shape[1]), n, interpolation
        rays = [Rays.grid(self.shape, pixel_scale, supersampling)]
        if core is not None and core != supersampling:
            rays.append(Rays.grid(self.shape, pixel_scale, core, CORE))
        self.rays = tuple(part for part in rays if part.x.size)
        self.blur = None if psf is None else Blur(psf, shape, psf_method)
        dtype = self.rays[0].x.dtype
        self.mask = None if mask is None else jnp.asarray(mask, dtype=dtype)
        self.fov = jnp.asarray(fov, dtype=dtype)

    @property
    def rays_a_pixel(self) -> tuple[int, ...]:
        """Of every block."""
        return tuple(len(part.x) for part in self.rays)

    def __call__(self, params: dict[str, Array]) -> "LensedSource":
        """A_l for one lens; `params` holds scalars under the names of `lens.space`, and `source_fov` if it varies."""
        # all blocks at once: one program for the deflections
        x, y = (
            jnp.concatenate([t.ravel() for t in parts]) for parts in zip(*((r.x, r.y) for r in self.rays), strict=True)
        )
        bx, by = self.lens.ray_shoot(params, x, y)
        pixel = params.get("source_fov", self.fov) / self.n
        u = (bx - params["xs"]) / pixel + (self.n - 1) / 2
        v = (by - params["ys"]) / pixel + (self.n - 1) / 2
        ends = np.cumsum([r.x.size for r in self.rays])[:-1].tolist()
        blocks = []
        for r, *uv in zip(self.rays, jnp.split(u, ends), jnp.split(v, ends), strict=True):
            blocks.append(Rays(*(t.reshape(r.x.shape) for t in uv), r.corner))
        return LensedSource(tuple(blocks), self.blur, self.mask, self.shape, self.n, self.interpolation)


class LensedSource(LinearOperator):
    """A_l for one l. rays: blocks of the image, later in place of earlier; x, y: column and row on the source grid."""

    rays: tuple[Rays, ...]
    blur: Blur | None
    mask: Array | None
    shape: tuple[int, int] = eqx.field(static=True)
    n: int = eqx.field(static=True)
    interpolation: str = eqx.field(static=True)

    @property
    def in_shape(self) -> tuple[int, int]:
        return (self.n, self.n)

    @property
    def out_shape(self) -> tuple[int, int]:
        return self.shape

    def mv(self, x: Array) -> Array:
        table = coefficients(x.reshape(-1, 1), self.n, self.interpolation)

        def block(rays: Rays) -> Array:
            def add(total, uv):
                return total + interpolate(table, *uv, self.n, self.interpolation)[..., 0], None

            start = jnp.zeros(rays.x.shape[1:], jnp.result_type(table, rays.x))
            return jax.lax.scan(add, start, (rays.x, rays.y))[0] / rays.x.shape[0]

        image = self._joined(block)
        image = image if self.blur is None else self.blur(image)
        return image if self.mask is None else image * self.mask

    def images(self, table: Array) -> Array:
        """A_l applied to r sources at once, given as the columns of table (n*n, r): (ny, nx, r).

        Made to be differentiated in the lens; `mv` is the one to transpose.
        """
        table = coefficients(table, self.n, self.interpolation)

        @jax.checkpoint
        def add(total, uv):
            return total + interpolate_for_gradients(table, *uv, self.n, self.interpolation), None

        def block(rays: Rays) -> Array:
            # one row of the image at a time: all its r images stay in the cache, and what consumes them cannot be
            # merged with the gathers, which would then be done anew for each of its terms
            def row(_, uv):
                start = jnp.zeros((rays.x.shape[2], table.shape[1]), jnp.result_type(table, rays.x))
                return None, jax.lax.scan(add, start, uv)[0] / rays.x.shape[0]

            return jax.lax.scan(row, None, tuple(jnp.moveaxis(t, 1, 0) for t in (rays.x, rays.y)))[1]

        images = self._joined(block)
        if self.blur is not None:
            return self.blur.stack(images, self.mask)
        return images if self.mask is None else images * self.mask[..., None]

    def _joined(self, block) -> Array:
        """(ny, nx, ...): each block's pixels in their place."""
        whole, *others = self.rays
        out = block(whole)
        for rays in others:
            (i, j), (rows, cols) = rays.corner, rays.x.shape[1:]
            out = out.at[i : i + rows, j : j + cols].set(block(rays))
        return out
