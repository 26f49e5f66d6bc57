"""A prior that is not Gaussian and yet known exactly: a mixture of Gaussians, and the Gaussian of its two moments."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from blindlens.prior import Denoiser, GaussianPrior


class MixturePrior(Denoiser):
    """p(x) = sum_k w_k N(m_k, S_k): D is the parts' denoisers, weighed by the parts' probabilities given x_t."""

    parts: tuple[GaussianPrior, ...]
    log_weights: Array
    n: int
    scale: float
    offset: float = 0.0
    name: str = "mixture"

    def _log_probabilities(self, x_t: Array, sigma: Array) -> Array:
        """log w_k N(x_t; m_k, S_k + sigma^2), (..., K)."""
        values = []
        for part, log_weight in zip(self.parts, self.log_weights, strict=True):
            lam, d2, s2 = part.eigenvalues, part.delta**2, sigma[..., None] ** 2
            off = x_t - part.mean
            quadratic = jnp.sum(off * part._shrink(off, 1 / (lam + s2), 1 / (d2 + s2)), (-2, -1))
            rest = self.n**2 - len(lam)
            log_det = jnp.sum(jnp.log(lam + s2), -1) + rest * jnp.log(d2 + sigma**2)
            values.append(log_weight - (quadratic + log_det) / 2)
        return jnp.stack(values, -1)

    def __call__(self, x_t: Array, sigma: Array | float) -> Array:
        sigma = jnp.broadcast_to(jnp.asarray(sigma, x_t.dtype), x_t.shape[:-2])
        weights = jax.nn.softmax(self._log_probabilities(x_t, sigma), -1)
        means = jnp.stack([part(x_t, sigma) for part in self.parts], -1)
        return jnp.sum(weights[..., None, None, :] * means, -1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        which_key, *keys = jax.random.split(key, 1 + len(self.parts))
        which = jax.random.categorical(which_key, self.log_weights, shape=shape)
        draws = jnp.stack([part.sample(key, shape) for key, part in zip(keys, self.parts, strict=True)])
        return jnp.take_along_axis(draws, which[None, ..., None, None], 0)[0]

    def gaussian(self) -> GaussianPrior:
        """The Gaussian of the same mean and covariance."""
        weights = np.exp(np.asarray(self.log_weights, np.float64))
        means = np.stack([np.asarray(part.mean, np.float64).ravel() for part in self.parts])
        middle = weights @ means
        S = np.zeros((self.n**2, self.n**2))
        for w, m, part in zip(weights, means, self.parts, strict=True):
            B = np.asarray(part.basis, np.float64)
            E = B / np.linalg.norm(B, axis=0)
            S += w * (B @ B.T + part.delta**2 * (np.eye(len(S)) - E @ E.T) + np.outer(m - middle, m - middle))
        lam, v = np.linalg.eigh(S)
        keep = np.argsort(lam)[::-1][: len(lam) - 1]
        basis = jnp.asarray(v[:, keep] * np.sqrt(lam[keep]), jnp.float32)
        mean = jnp.asarray(middle.reshape(self.n, self.n), jnp.float32)
        return GaussianPrior(mean, basis, float(np.sqrt(lam[0])), self.scale, self.offset, self.n, "moments")


def galaxies(n: int = 12, scale: float = 10.0) -> MixturePrior:
    """Compact bright, extended faint, and hollow galaxies."""
    r, k = np.linspace(0, 1.5, 60), np.arange(0, 4.0)
    power = 1 / (1 + k**2)
    profiles = {
        "compact": 2.5 * np.exp(-r / 0.15),
        "extended": 0.6 * np.exp(-r / 0.6),
        "ring": np.exp(-((r - 0.5) ** 2) / 0.03),
    }
    parts = tuple(
        GaussianPrior.from_profiles(n, r, mean, 0.05 + 0.35 * mean, k, power, scale, 0.0, name, delta=0.02)
        for name, mean in profiles.items()
    )
    return MixturePrior(parts, jnp.log(jnp.array([0.4, 0.35, 0.25])), n, scale)


@contextmanager
def in_studies(prior: MixturePrior) -> Iterator[None]:
    """Within, studies of coverage know it as `mixture`, and cold starts take the Gaussian of its moments."""

    def load_prior(name: str, n: int) -> Denoiser:
        return prior if name == "mixture" else prior.gaussian()

    with (
        patch("blindlens.coverage.systems.load_prior", load_prior),
        patch("blindlens.inference.pipeline.load_prior", lambda name, n: prior.gaussian()),
    ):
        yield
