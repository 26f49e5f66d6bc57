"""A_l: from a pixelated source to the lensed, blurred image."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array

from ..errors import BlindlensError
from ..linear import LinearOperator
from .mass import LensModel


def bilinear(table: Array, u: Array, v: Array, n: int) -> Array:
    """Bilinear interpolation of r images at once, zero outside the grid.

    table: (n*n, r), one image a column; u (column), v (row): positions (...) in pixels, centres at integers.
    Returns (..., r). Beyond the last pixel centre the image falls linearly to zero within one pixel; it is
    never extrapolated.
    """
    i, j = jnp.floor(v), jnp.floor(u)
    total = 0.0
    for di in (0, 1):
        for dj in (0, 1):
            row, col = i + di, j + dj
            inside = (row >= 0) & (row < n) & (col >= 0) & (col < n)
            w = (1 - jnp.abs(v - row)) * (1 - jnp.abs(u - col)) * inside
            index = jnp.clip(row, 0, n - 1) * n + jnp.clip(col, 0, n - 1)
            total = total + w[..., None] * table[index.astype(jnp.int32)]
    return total


class Blur(eqx.Module):
    """Convolution of images (..., ny, nx) with a PSF, "same" size, light beyond the border taken as zero.

    psf: odd-sized kernel (ky, kx), normalised by the caller. `method`: "fft" or "direct".
    """

    kernel: Array
    otf: Array
    shape: tuple[int, int] = eqx.field(static=True)
    padded: tuple[int, int] = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def __init__(self, psf, shape: tuple[int, int], method: str = "fft"):
        if method not in ("fft", "direct"):
            raise BlindlensError(f"the PSF method is 'fft' or 'direct', not {method!r}")
        psf = np.asarray(psf, np.float64)
        if psf.ndim != 2 or psf.shape[0] % 2 == 0 or psf.shape[1] % 2 == 0:
            raise BlindlensError(f"the PSF kernel must be two-dimensional with odd sides, not {psf.shape}")
        half = [k // 2 for k in psf.shape]
        self.padded = tuple(scipy.fft.next_fast_len(s + h, real=True) for s, h in zip(shape, half, strict=True))
        if any(p < k for p, k in zip(self.padded, psf.shape, strict=True)):
            self.padded = tuple(max(p, k) for p, k in zip(self.padded, psf.shape, strict=True))
        centred = np.zeros(self.padded)
        centred[: psf.shape[0], : psf.shape[1]] = psf
        centred = np.roll(centred, [-h for h in half], (0, 1))
        self.kernel = jnp.asarray(psf)
        self.otf = jnp.asarray(np.fft.rfft2(centred))
        self.shape, self.method = tuple(shape), method

    def __call__(self, image: Array) -> Array:
        if self.method == "direct":
            flipped = self.kernel[None, None, ::-1, ::-1].astype(image.dtype)
            stack = image.reshape(-1, 1, *self.shape)
            return jax.lax.conv(stack, flipped, (1, 1), "SAME").reshape(image.shape)
        spectrum = jnp.fft.rfft2(image, s=self.padded) * self.otf
        return jnp.fft.irfft2(spectrum, s=self.padded)[..., : self.shape[0], : self.shape[1]]


class LensOperator(eqx.Module):
    """The family {A_l}: `LensOperator(...)(params)` is the LinearOperator A_l for one lens.

    (A_l x)(pixel) = PSF * mean over s x s rays theta of x(beta(theta) - (xs, ys)), x bilinear on an n x n grid of
    side `fov` centred on (xs, ys), zero outside.

    lens: the mass model. shape: (ny, nx) of the image. pixel_scale: arcsec. psf: odd kernel or None. n: source
    pixels a side. fov: source field, arcsec. supersampling: rays per pixel and side; too few make log p(y | l) ripple
    at the period of a source pixel, and that the default 2 is enough has not been shown (docs/status.md). mask: True where the
    image is used; rays are traced everywhere, masked pixels come out as zero.
    """

    lens: LensModel
    x: Array
    y: Array
    blur: Blur | None
    mask: Array | None
    fov: Array
    shape: tuple[int, int] = eqx.field(static=True)
    n: int = eqx.field(static=True)

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
        psf_method: str = "fft",
    ):
        if supersampling < 1 or n < 2 or min(shape) < 1:
            raise BlindlensError("supersampling must be >= 1, the source >= 2 pixels a side, the image not empty")
        self.lens, self.shape, self.n = lens, tuple(shape), n
        s = supersampling
        sub = (np.arange(s) - (s - 1) / 2) / s
        rows, cols = (np.arange(k) - (k - 1) / 2 for k in shape)
        # (s*s, ny, nx): the sub-rays lead, so that their sum is a loop which needs one image of memory
        dy, dx = np.meshgrid(sub, sub, indexing="ij")
        self.x = jnp.asarray(pixel_scale * (cols[None, None, :] + dx.reshape(-1, 1, 1) + 0 * rows[None, :, None]))
        self.y = jnp.asarray(pixel_scale * (rows[None, :, None] + dy.reshape(-1, 1, 1) + 0 * cols[None, None, :]))
        self.blur = None if psf is None else Blur(psf, shape, psf_method)
        self.mask = None if mask is None else jnp.asarray(mask, dtype=self.x.dtype)
        self.fov = jnp.asarray(fov, dtype=self.x.dtype)

    def __call__(self, params: dict[str, Array]) -> "LensedSource":
        """A_l for one lens; `params` holds scalars under the names of `lens.space`, and `source_fov` where that varies."""
        bx, by = self.lens.ray_shoot(params, self.x, self.y)
        pixel = params.get("source_fov", self.fov) / self.n
        u = (bx - params["xs"]) / pixel + (self.n - 1) / 2
        v = (by - params["ys"]) / pixel + (self.n - 1) / 2
        return LensedSource(u, v, self.blur, self.mask, self.shape, self.n)


class LensedSource(LinearOperator):
    """A_l for one l: rays that land at column u and row v of the source grid, (s*s, ny, nx) each."""

    u: Array
    v: Array
    blur: Blur | None
    mask: Array | None
    shape: tuple[int, int] = eqx.field(static=True)
    n: int = eqx.field(static=True)

    @property
    def in_shape(self) -> tuple[int, int]:
        return (self.n, self.n)

    @property
    def out_shape(self) -> tuple[int, int]:
        return self.shape

    def mv(self, x: Array) -> Array:
        return self.images(x.reshape(-1, 1))[0]

    def images(self, table: Array) -> Array:
        """A_l applied to r sources at once, given as the columns of table (n*n, r): (r, ny, nx)."""

        @jax.checkpoint
        def add(total, uv):
            return total + bilinear(table, *uv, self.n), None

        start = jnp.zeros((*self.shape, table.shape[1]), jnp.result_type(table, self.u))
        total, _ = jax.lax.scan(add, start, (self.u, self.v))
        images = jnp.moveaxis(total / self.u.shape[0], -1, 0)
        if self.blur is not None:
            images = self.blur(images)
        return images if self.mask is None else images * self.mask
