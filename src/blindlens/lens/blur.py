"""Convolution of images with a point-spread function."""

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array

from ..errors import BlindlensError


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
        # the products of one term take less time than an FFT, those of several more
        cheaper = "direct" if terms == 1 else "fft"
        self.shape, self.method = (shape[0], shape[1]), cheaper if method == "auto" else method
        used = range(terms if self.method == "direct" else 0)
        self.columns = tuple(jnp.asarray(banded(u[:, i] * size[i], shape[0])) for i in used)
        self.rows = tuple(jnp.asarray(banded(v[i], shape[1])) for i in used)

    def __call__(self, images: Array) -> Array:
        """Images (..., ny, nx), of the shape given at construction; the rest is a batch."""
        if self.method == "direct":
            product = functools.partial(jnp.einsum, "ij,...jk,lk->...il", precision="highest")
            terms = zip(self.columns, self.rows, strict=True)
            return functools.reduce(jnp.add, (product(column, images, row) for column, row in terms))
        spectrum = jnp.fft.rfft2(images, s=self.padded) * self.otf
        return jnp.fft.irfft2(spectrum, s=self.padded)[..., : self.shape[0], : self.shape[1]]

    def stack(self, images: Array) -> Array:
        """The same for (ny, nx, r), r of them fastest; returns (r, ny, nx)."""
        if self.method == "fft":
            return self(jnp.moveaxis(images, 2, 0))
        # each product turns the stack by an axis as it goes: transposing it would cost as much as they do
        product = functools.partial(jnp.einsum, precision="highest")
        terms = zip(self.columns, self.rows, strict=True)
        turned = (product("xri,jx->rij", product("yxr,iy->xri", images, column), row) for column, row in terms)
        return functools.reduce(jnp.add, turned)


def banded(kernel: np.ndarray, n: int) -> np.ndarray:
    """(n, n) matrix that convolves n values with an odd kernel, zeros beyond the ends."""
    half = len(kernel) // 2
    return np.sum([w * np.eye(n, k=half - k) for k, w in enumerate(kernel)], 0)
