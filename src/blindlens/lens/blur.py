"""Convolution of images with a point-spread function."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array

from ..errors import BlindlensError

STRIP = 8
"""Rows of a stack of images that are convolved at a time: few enough for the cache."""
PART = 24
"""Pixels along x that one product with a banded matrix makes."""
SMALL = 2**18
"""A stack of fewer numbers fits into the cache as it is."""
TERMS = 6
"""With more singular values than this the PSF costs less by FFT."""


class Blur(eqx.Module):
    """Convolution of images with a PSF, "same" size, light beyond the border taken as zero.

    psf: odd-sized kernel (ky, kx), normalised by the caller. `method`: "direct" convolves along the columns and along
    the rows for each singular value of the PSF above 1e-8 of its largest; "fft"; "auto" takes the cheaper.
    """

    columns: tuple[Array, ...]
    rows: tuple[Array, ...]
    strips: tuple[Array, ...]
    otf: Array
    half: tuple[int, int] = eqx.field(static=True)
    shape: tuple[int, int] = eqx.field(static=True)
    padded: tuple[int, int] = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def __init__(self, psf, shape: tuple[int, int], method: str = "auto"):
        if method not in ("auto", "fft", "direct"):
            raise BlindlensError(f"the PSF method is 'auto', 'fft' or 'direct', not {method!r}")
        psf = np.asarray(psf, np.float64)
        if psf.ndim != 2 or psf.shape[0] % 2 == 0 or psf.shape[1] % 2 == 0:
            raise BlindlensError(f"the PSF kernel must be two-dimensional with odd sides, not {psf.shape}")
        self.half = half = (psf.shape[0] // 2, psf.shape[1] // 2)
        # at least as long as the kernel, for images smaller than their PSF
        longest = (max(s + h, k) for s, h, k in zip(shape, half, psf.shape, strict=True))
        rows, cols = (scipy.fft.next_fast_len(n, real=True) for n in longest)
        self.padded = (int(rows), int(cols))
        centred = np.zeros(self.padded)
        centred[: psf.shape[0], : psf.shape[1]] = psf
        centred = np.roll(centred, [-h for h in half], (0, 1))
        self.otf = jnp.asarray(np.fft.rfft2(centred))
        u, size, v = np.linalg.svd(psf)
        terms = int(np.count_nonzero(size > 1e-8 * size[0]))
        cheaper = "direct" if terms <= TERMS else "fft"
        self.shape, self.method = (shape[0], shape[1]), cheaper if method == "auto" else method
        used = range(terms if self.method == "direct" else 0)
        kernels = [u[:, i] * size[i] for i in used]
        self.columns = tuple(jnp.asarray(banded(kernel, shape[0])) for kernel in kernels)
        interior = slice(half[0], half[0] + STRIP)
        self.strips = tuple(jnp.asarray(banded(kernel, STRIP + 2 * half[0])[interior]) for kernel in kernels)
        self.rows = tuple(jnp.asarray(banded(v[i], shape[1])) for i in used)

    def __call__(self, images: Array) -> Array:
        """Images (..., ny, nx), of the shape given at construction; the rest is a batch."""
        if self.method == "direct":
            product = functools.partial(jnp.einsum, "ij,...jk,lk->...il", precision="highest")
            terms = zip(self.columns, self.rows, strict=True)
            return functools.reduce(jnp.add, (product(column, images, row) for column, row in terms))
        spectrum = jnp.fft.rfft2(images, s=self.padded) * self.otf
        return jnp.fft.irfft2(spectrum, s=self.padded)[..., : self.shape[0], : self.shape[1]]

    def stack(self, images: Array, weight: Array | None = None) -> Array:
        """The same for r images (ny, nx, r), r of them fastest; then times weight (ny, nx).

        Directly, STRIP rows of the result at a time: what lies between the two convolutions stays in the cache. The
        banded matrices are multiplied in parts that leave out most of their zeros.
        """
        if self.method == "fft":
            blurred = jnp.moveaxis(self(jnp.moveaxis(images, 2, 0)), 0, 2)
            return blurred if weight is None else blurred * weight[..., None]
        (ny, nx, r), (half_y, half_x) = images.shape, self.half
        if images.size < SMALL:
            product = functools.partial(jnp.einsum, "iy,yxr,jx->ijr", precision="highest")
            terms = (product(column, images, row) for column, row in zip(self.columns, self.rows, strict=True))
            blurred = functools.reduce(jnp.add, terms)
            return blurred if weight is None else blurred * weight[..., None]
        strips = -(-ny // STRIP)
        spare, high = strips * STRIP - ny, STRIP + 2 * half_y
        images = jnp.pad(images, ((half_y, half_y + spare), (0, 0), (0, 0)))
        weight = jnp.ones((ny, nx), images.dtype) if weight is None else weight
        weights = jnp.pad(weight, ((0, spare), (0, 0))).reshape(strips, STRIP, nx)
        product = functools.partial(jnp.matmul, precision="highest")
        ends = [(a, min(nx, a + PART)) for a in range(0, nx, PART)]
        parts = [(a, b, max(0, a - half_x), min(nx, b + half_x)) for a, b in ends]

        def strip(_, args):
            i, w = args
            window = jax.lax.dynamic_slice_in_dim(images, i * STRIP, high).reshape(high, nx * r)
            along_y = [product(kernel, window).reshape(STRIP, nx, r) for kernel in self.strips]
            return None, jax.lax.map(line, (along_y, w))

        def line(args):
            terms, w = args
            # the weight goes to the matrix, which is smaller than what it makes
            pairs = [(w[:, None] * row, term) for row, term in zip(self.rows, terms, strict=True)]
            along_x = [sum(product(row[a:b, c:d], term[c:d]) for row, term in pairs) for a, b, c, d in parts]
            return jnp.concatenate(along_x)

        blurred = jax.lax.scan(strip, None, (jnp.arange(strips), weights))[1]
        return blurred.reshape(strips * STRIP, nx, r)[:ny]


def banded(kernel: np.ndarray, n: int) -> np.ndarray:
    """(n, n) matrix that convolves n values with an odd kernel, zeros beyond the ends."""
    half = len(kernel) // 2
    return np.sum([w * np.eye(n, k=half - k) for k, w in enumerate(kernel)], 0)
