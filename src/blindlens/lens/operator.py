"""A_l: from a pixelated source to the lensed, blurred image."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array

from ..errors import BlindlensError
from ..linear import LinearOperator
from .mass import LensModel

INTERPOLATIONS = ("bilinear", "cubic")


def spline_weights(t: Array, interpolation: str) -> tuple[list[Array], list[Array]]:
    """Weights of the pixels around u = floor(u) + t, from floor(u) (bilinear) or floor(u) - 1 (cubic) on, and d/dt."""
    if interpolation == "bilinear":
        one = jnp.ones_like(t)
        return [1 - t, t], [-one, one]
    s = 1 - t
    weights = [s**3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - s**2 + s**3 / 2, t**3 / 6]
    return weights, [-(s**2) / 2, 1.5 * t**2 - 2 * t, 2 * s - 1.5 * s**2, t**2 / 2]


def _taps(u: Array, v: Array, n: int, interpolation: str):
    """For each pixel that a position sees: its row in the table, and its weight with the derivatives along u and v."""
    i, j = jnp.floor(v), jnp.floor(u)
    first = 0 if interpolation == "bilinear" else -1
    along_v, along_u = (spline_weights(t, interpolation) for t in (v - i, u - j))
    for di, (wi, si) in enumerate(zip(*along_v, strict=True), first):
        for dj, (wj, sj) in enumerate(zip(*along_u, strict=True), first):
            row, col = i + di, j + dj
            inside = (row >= 0) & (row < n) & (col >= 0) & (col < n)
            index = (jnp.clip(row, 0, n - 1) * n + jnp.clip(col, 0, n - 1)).astype(jnp.int32)
            yield index, wi * wj * inside, wi * sj * inside, si * wj * inside


def interpolate(table: Array, u: Array, v: Array, n: int, interpolation: str = "bilinear") -> Array:
    """Spline surface of r images at once, zero outside the grid.

    table: (n*n, r), one image's spline coefficients a column; u (column), v (row): positions (...) in pixels, centres
    at integers. Returns (..., r). Beyond the last pixel centre the image falls to zero within one pixel (bilinear) or
    two (cubic); it is never extrapolated.
    """
    return sum(weight[..., None] * table[index] for index, weight, _, _ in _taps(u, v, n, interpolation))


# The derivative by hand: it is an interpolation too, and costs as much; the transposed gathers that differentiating the
# sum would give cost ten times more.
_differentiable = jax.custom_jvp(interpolate, nondiff_argnums=(3, 4))


@_differentiable.defjvp
def _interpolate_jvp(n, interpolation, primals, tangents):
    (table, u, v), (dtable, du, dv) = primals, tangents
    slope_u = sum(w[..., None] * table[index] for index, _, w, _ in _taps(u, v, n, interpolation))
    # XLA fuses a sum of gathers into one loop if nothing else reads them: the barrier keeps the two sums apart
    same, slope_u = jax.lax.optimization_barrier((table, slope_u))
    slope_v = sum(w[..., None] * same[index] for index, _, _, w in _taps(u, v, n, interpolation))
    # a product with ones, whose transpose is a matrix product too: XLA's sums along rows are ten times slower
    ones = jnp.ones((1, table.shape[1]), table.dtype)
    slope_v = jax.lax.optimization_barrier(slope_v)
    moved = sum(s * (d.reshape(-1, 1) @ ones).reshape(s.shape) for s, d in ((slope_u, du), (slope_v, dv)))
    return interpolate(table, u, v, n, interpolation), moved + interpolate(dtable, u, v, n, interpolation)


def coefficients(table: Array, n: int, interpolation: str) -> Array:
    """Spline coefficients of images (n*n, r): the surface passes through the pixel values at the pixel centres."""
    if interpolation == "bilinear":
        return table
    values = 2 / 3 * np.eye(n) + (np.eye(n, k=1) + np.eye(n, k=-1)) / 6
    inverse = jnp.asarray(np.linalg.inv(values), table.dtype)
    rows = (inverse @ table.reshape(n, -1)).reshape(n, n, -1)
    return jnp.einsum("jk,ikr->ijr", inverse, rows).reshape(table.shape)


class Blur(eqx.Module):
    """Convolution of images with a PSF, "same" size, light beyond the border taken as zero.

    psf: odd-sized kernel (ky, kx), normalised by the caller. `method`: "direct" multiplies by a banded matrix along the
    columns and one along the rows for each singular value of the PSF above 1e-8 of its largest; "fft"; "auto" takes the
    cheaper.
    """

    columns: tuple[Array, ...]
    rows: tuple[Array, ...]
    otf: Array
    shape: tuple[int, int] = eqx.field(static=True)
    padded: tuple[int, int] = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def __init__(self, psf, shape: tuple[int, int], method: str = "auto"):
        if method not in ("auto", "fft", "direct"):
            raise BlindlensError(f"the PSF method is 'auto', 'fft' or 'direct', not {method!r}")
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
        self.otf = jnp.asarray(np.fft.rfft2(centred))
        u, size, v = np.linalg.svd(psf)
        terms = int(np.count_nonzero(size > 1e-8 * size[0]))
        # measured on CPUs for stacks of hundreds of images: an FFT costs as much as four pairs of products at 64 pixels
        # a side, and a product's share grows with the side
        cheaper = "direct" if terms * sum(shape) <= 512 else "fft"
        self.shape, self.method = tuple(shape), cheaper if method == "auto" else method
        used = range(terms if self.method == "direct" else 0)
        self.columns = tuple(jnp.asarray(banded(u[:, i] * size[i], shape[0])) for i in used)
        self.rows = tuple(jnp.asarray(banded(v[i], shape[1])) for i in used)

    def __call__(self, images: Array) -> Array:
        """Images (..., ny, nx), of the shape given at construction; the rest is a batch."""
        if self.method == "direct":
            product = functools.partial(jnp.einsum, "ij,...jk,lk->...il", precision="highest")
            return sum(product(column, images, row) for column, row in zip(self.columns, self.rows, strict=True))
        spectrum = jnp.fft.rfft2(images, s=self.padded) * self.otf
        return jnp.fft.irfft2(spectrum, s=self.padded)[..., : self.shape[0], : self.shape[1]]

    def stack(self, images: Array) -> Array:
        """The same for (ny, nx, r), r of them fastest; returns (r, ny, nx)."""
        if self.method == "fft":
            return self(jnp.moveaxis(images, 2, 0))
        # each product turns the stack by an axis as it goes: transposing it would cost as much as they do
        product = functools.partial(jnp.einsum, precision="highest")
        return sum(
            product("xri,jx->rij", product("yxr,iy->xri", images, column), row)
            for column, row in zip(self.columns, self.rows, strict=True)
        )


def banded(kernel: np.ndarray, n: int) -> np.ndarray:
    """(n, n) matrix that convolves n values with an odd kernel, zeros beyond the ends."""
    half = len(kernel) // 2
    return sum(w * np.eye(n, k=half - k) for k, w in enumerate(kernel))


class LensOperator(eqx.Module):
    """The family {A_l}: `LensOperator(...)(params)` is the LinearOperator A_l for one lens.

    (A_l x)(pixel) = PSF * mean over s x s rays theta of x(beta(theta) - (xs, ys)), x a surface through the n x n pixel
    values of a grid of side `fov` centred on (xs, ys), zero outside.

    lens: the mass model. shape: (ny, nx) of the image. pixel_scale: arcsec. psf: odd kernel or None. n: source
    pixels a side. fov: source field, arcsec. mask: True where the image is used; rays are traced everywhere, masked
    pixels come out as zero. supersampling: rays per pixel and side. interpolation: "bilinear", or "cubic" for the
    interpolating spline, twice differentiable in the lens. log p(y | l) ripples at the period of a source pixel: less
    with cubic than with bilinear, less with 2 rays than with 1 (cubic), no less with 4 (docs/ripple.md).
    """

    lens: LensModel
    x: Array
    y: Array
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
    ):
        if supersampling < 1 or n < 2 or min(shape) < 1:
            raise BlindlensError("supersampling must be >= 1, the source >= 2 pixels a side, the image not empty")
        if interpolation not in INTERPOLATIONS:
            raise BlindlensError(f"the source is interpolated by one of {INTERPOLATIONS}, not {interpolation!r}")
        self.lens, self.shape, self.n, self.interpolation = lens, tuple(shape), n, interpolation
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
        """A_l for one lens; `params` holds scalars under the names of `lens.space`, and `source_fov` if it varies."""
        bx, by = self.lens.ray_shoot(params, self.x, self.y)
        pixel = params.get("source_fov", self.fov) / self.n
        u = (bx - params["xs"]) / pixel + (self.n - 1) / 2
        v = (by - params["ys"]) / pixel + (self.n - 1) / 2
        return LensedSource(u, v, self.blur, self.mask, self.shape, self.n, self.interpolation)


class LensedSource(LinearOperator):
    """A_l for one l: rays that land at column u and row v of the source grid, (s*s, ny, nx) each."""

    u: Array
    v: Array
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

        def add(total, uv):
            return total + interpolate(table, *uv, self.n, self.interpolation)[..., 0], None

        total, _ = jax.lax.scan(add, jnp.zeros(self.shape, jnp.result_type(table, self.u)), (self.u, self.v))
        image = total / self.u.shape[0]
        image = image if self.blur is None else self.blur(image)
        return image if self.mask is None else image * self.mask

    def images(self, table: Array) -> Array:
        """A_l applied to r sources at once, given as the columns of table (n*n, r): (r, ny, nx).

        Made to be differentiated in the lens; `mv` is the one to transpose.
        """
        table = coefficients(table, self.n, self.interpolation)

        @jax.checkpoint
        def add(total, uv):
            return total + _differentiable(table, *uv, self.n, self.interpolation), None

        # one row of the image at a time: all its r images stay in the cache, and what consumes them cannot be merged
        # with the gathers, which would then be done anew for each of its terms
        def row(_, uv):
            start = jnp.zeros((self.shape[1], table.shape[1]), jnp.result_type(table, self.u))
            return None, jax.lax.scan(add, start, uv)[0]

        _, images = jax.lax.scan(row, None, (jnp.moveaxis(self.u, 1, 0), jnp.moveaxis(self.v, 1, 0)))
        images = images / self.u.shape[0]
        images = jnp.moveaxis(images, 2, 0) if self.blur is None else self.blur.stack(images)
        return images if self.mask is None else images * self.mask
