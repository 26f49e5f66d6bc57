"""The Gaussian prior: every quantity of the joint posterior that involves the source is exact with it."""

import hashlib
import itertools
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array

from ..errors import BlindlensError
from .checkpoint import load_arrays
from .denoiser import Denoiser


class GaussianPrior(Denoiser):
    """x ~ N(mean, S), S = B B^T + delta^2 (I - E E^T), B = E Lambda^(1/2): low rank plus a small diagonal.

    mean: (n, n). basis: B, (n*n, r), orthogonal columns with norms sqrt(Lambda_i) in descending order. delta: sd in the
    n*n - r directions that B leaves out. profiles: a hash of what B was computed from, if it was.
    """

    mean: Array
    basis: Array
    delta: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    offset: float = eqx.field(static=True)
    n: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    profiles: str = eqx.field(static=True, default="")

    def digest(self) -> str:
        if not self.profiles:
            return super().digest()
        # the last digits of eigenvectors depend on the number of cores; the sizes tell of what was changed since
        sizes = [f"{float(size):.3e}" for size in (self.mean.sum(), self.eigenvalues.sum(), self.eigenvalues[-1])]
        return " ".join([self.name, self.profiles, str(self.n), *sizes])

    @property
    def eigenvalues(self) -> Array:
        return jnp.sum(self.basis**2, 0)

    def _shrink(self, x: Array, inside: Array, outside: Array) -> Array:
        """Apply the matrix with eigenvalues `inside` (r,) on E and `outside` on its complement to images x."""
        flat = x.reshape(*x.shape[:-2], -1)
        coefficients = (flat @ self.basis) / self.eigenvalues  # E Lambda^(-1/2)
        low_rank = ((inside - outside) * coefficients) @ self.basis.T
        return (low_rank + outside * flat).reshape(x.shape)

    def __call__(self, x_t: Array, sigma: Array | float) -> Array:
        """mean + S (S + sigma^2)^-1 (x_t - mean)."""
        s2 = jnp.asarray(sigma, x_t.dtype)[..., None] ** 2
        lam, d2 = self.eigenvalues, self.delta**2
        return self.mean + self._shrink(x_t - self.mean, lam / (lam + s2), d2 / (d2 + s2))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Exact draws, (*shape, n, n)."""
        return self.mean + self._coloured(key, shape, jnp.sqrt(self.eigenvalues), self.delta)

    def _coloured(self, key: Array, shape: tuple[int, ...], inside: Array, outside: Array | float) -> Array:
        white = jax.random.normal(key, (*shape, self.n, self.n), self.mean.dtype)
        return self._shrink(white, inside, jnp.asarray(outside))

    def posterior_sample(self, key: Array, x_t: Array, sigma: Array) -> Array:
        """An exact draw of x | x_t, one image; covariance S sigma^2 / (S + sigma^2)."""
        lam, d2, s2 = self.eigenvalues, self.delta**2, sigma**2
        spread = self._coloured(key, (), jnp.sqrt(lam * s2 / (lam + s2)), jnp.sqrt(d2 * s2 / (d2 + s2)))
        return self(x_t, sigma) + spread

    @staticmethod
    def from_profiles(
        n: int,
        radius,
        mean,
        sd,
        wavenumber,
        power,
        scale: float,
        offset: float,
        name: str,
        delta: float = 1e-4,
    ) -> "GaussianPrior":
        """Enveloped random field x = mean(r) + sd(r) g, g stationary with isotropic power on the n-torus.

        radius: in units of half the field of view; mean, sd: there. wavenumber: cycles per field of view, power: of g
        there (any normalisation; zero beyond the last entry, so the field is band limited). g has unit variance, so
        that sd(r) is the pixels' standard deviation. Galaxies fluctuate in proportion to their local brightness, have
        no preferred direction, and lose power quickly towards small scales: the three facts this family encodes.
        """
        axis = (np.arange(n) - (n - 1) / 2) / (n / 2)
        r = np.hypot(axis[:, None], axis)
        envelope = np.interp(r, radius, sd)
        k = np.fft.fftfreq(n, 1 / n)
        kk = np.hypot(k[:, None], k[None])
        p = np.where(kk <= wavenumber[-1], np.interp(kk, wavenumber, power), 0.0)
        p[np.abs(k) >= n / 2, :] = 0
        p[:, np.abs(k) >= n / 2] = 0  # the Nyquist row has no sine partner
        p /= p.sum()
        # p and the envelope are even in x and in y: product waves of different parity about the grid's centre do not
        # couple, and four small eigenproblems make the same S as one of four times the size
        ky, kx = np.nonzero((p > 0) & (k[None] >= 0) & (k[:, None] >= 0))
        amplitude = np.sqrt(p[ky, kx] * np.where(ky > 0, 2, 1) * np.where(kx > 0, 2, 1))  # of the waves (+-kx, +-ky)
        phase = np.pi * axis[:, None] * np.arange(n)
        waves = (np.cos(phase), np.sin(phase))
        values, vectors = [], []
        for row, column in itertools.product((0, 1), repeat=2):
            some = (ky >= row) & (kx >= column)  # the sine of wavenumber 0 is nothing
            rows, columns = waves[row][:, ky[some]] * amplitude[some], waves[column][:, kx[some]]
            factor = (envelope[..., None] * rows[:, None] * columns[None]).reshape(n * n, -1)
            lam, v = scipy.linalg.eigh(factor.T @ factor, driver="evd", overwrite_a=True, check_finite=False)
            values.append(lam)
            vectors.append((factor, v))
        floor = max(10 * delta**2, 1e-7 * max(lam.max() for lam in values))
        kept = [lam > floor for lam in values]
        order = np.argsort(np.concatenate([lam[keep] for lam, keep in zip(values, kept, strict=True)]))[::-1]
        basis = np.concatenate([f @ v[:, keep] for (f, v), keep in zip(vectors, kept, strict=True)], 1)[:, order]
        mean_image = np.interp(r, radius, mean)
        arrays = [jnp.asarray(array, jnp.float32) for array in (mean_image, basis)]
        made_from = [np.asarray(part, np.float64).tobytes() for part in (radius, mean, sd, wavenumber, power, delta)]
        profiles = hashlib.sha256(b"".join(made_from)).hexdigest()
        return GaussianPrior(*arrays, delta, scale, offset, n, name, profiles)

    @staticmethod
    def load(path: Path, n: int | None = None) -> "GaussianPrior":
        """Read the profiles from safetensors; n: pixels a side, by default the file's."""
        arrays, header = load_arrays(path)
        if header.get("kind") != "gaussian-profiles":
            raise BlindlensError(f"{path} is not a Gaussian prior (its kind is {header.get('kind')!r})")
        return GaussianPrior.from_profiles(
            n or int(header["n"]),
            **{key: np.asarray(arrays[key], np.float64) for key in ("radius", "mean", "sd", "wavenumber", "power")},
            scale=float(header["scale"]),
            offset=float(header["offset"]),
            name=header["name"],
        )
