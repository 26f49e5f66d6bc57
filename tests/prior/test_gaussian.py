"""The Gaussian prior: denoiser and draws against dense linear algebra."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.prior import GaussianPrior, load_prior, shipped
from blindlens.prior.galaxies import GalaxyRecipe, galaxies


def make(delta):
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
    return GaussianPrior.from_profiles(
        8, r, np.exp(-r / 0.3), 0.1 + 0.5 * np.exp(-r / 0.4), k, 1 / (1 + k) ** 3, 10.0, 0.1, "test", delta
    )


@pytest.fixture(scope="module")
def prior():
    return make(0.05)


def covariance(prior):
    E = np.asarray(prior.basis, float) / np.sqrt(np.asarray(prior.eigenvalues, float))
    return np.asarray(prior.basis, float) @ np.asarray(prior.basis, float).T + prior.delta**2 * (
        np.eye(prior.n**2) - E @ E.T
    )


def test_basis_is_orthogonal_and_its_variance_is_the_envelope():
    prior = make(1e-4)
    gram = np.asarray(prior.basis.T @ prior.basis)
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-5 * gram.max()
    r = np.hypot(*np.meshgrid(*[(np.arange(8) - 3.5) / 4] * 2))
    np.testing.assert_allclose(
        np.sqrt(np.sum(np.asarray(prior.basis) ** 2, 1)).reshape(8, 8), 0.1 + 0.5 * np.exp(-r / 0.4), rtol=0.02
    )


@pytest.mark.parametrize("n", [8, 9])
def test_covariance_is_the_enveloped_stationary_field(n):
    """S_ij = sd_i sd_j sum_k p_k cos(k . (x_i - x_j)), eigenvalues in descending order, nothing coupled or lost."""
    r, k, delta = np.linspace(0, 1.5, 40), np.arange(0, 6.0), 1e-6
    power = 1 / (1 + k) ** 2
    prior = GaussianPrior.from_profiles(
        n, r, np.exp(-r), 0.1 + 0.5 * np.exp(-r / 0.4), k, power, 10.0, 0.0, "test", delta
    )
    y, x = (t.ravel() for t in np.mgrid[:n, :n])
    envelope = np.interp(np.hypot(y - (n - 1) / 2, x - (n - 1) / 2) / (n / 2), r, 0.1 + 0.5 * np.exp(-r / 0.4))
    correlation = total = 0.0
    for ky in range(-n, n + 1):
        for kx in range(-n, n + 1):
            q = np.hypot(ky, kx)
            if q <= k[-1] and max(abs(ky), abs(kx)) < n / 2:
                p = np.interp(q, k, power)
                phase = 2 * np.pi / n * (ky * (y[:, None] - y) + kx * (x[:, None] - x))
                correlation, total = correlation + p * np.cos(phase), total + p
    want = envelope[:, None] * envelope * correlation / total
    B = np.asarray(prior.basis, float)
    np.testing.assert_allclose(B @ B.T, want, atol=1e-5 * want.max())
    assert (np.diff(np.asarray(prior.eigenvalues)) <= 1e-6 * float(prior.eigenvalues[0])).all()


@pytest.mark.parametrize("sigma", [0.01, 0.3, 5.0])
def test_denoiser_is_the_posterior_mean(prior, sigma):
    S, x = covariance(prior), np.random.default_rng(0).normal(size=(3, 8, 8))
    want = prior.mean + (
        (x - np.asarray(prior.mean)).reshape(3, -1) @ np.linalg.solve(S + sigma**2 * np.eye(64), S)
    ).reshape(x.shape)
    np.testing.assert_allclose(prior(jnp.asarray(x, jnp.float32), sigma), want, atol=2e-4)
    batched = prior(jnp.asarray(x, jnp.float32), jnp.full(3, sigma))
    np.testing.assert_allclose(batched, want, atol=2e-4)


def test_draws_and_posterior_draws_have_the_right_covariance(prior):
    S = covariance(prior)
    x = np.asarray(prior.sample(jax.random.key(0), (40_000,))).reshape(40_000, -1)
    scale = np.sqrt(np.outer(np.diag(S), np.diag(S)))
    assert np.abs((np.cov(x.T) - S) / scale).max() < 0.03
    z = prior.mean + 0.5
    keys = jax.random.split(jax.random.key(1), 40_000)
    x = np.asarray(jax.vmap(lambda k: prior.posterior_sample(k, z, jnp.asarray(0.3)))(keys)).reshape(40_000, -1)
    want = S - S @ np.linalg.solve(S + 0.09 * np.eye(64), S)
    scale = np.sqrt(np.outer(np.diag(want), np.diag(want)))
    assert np.abs((np.cov(x.T) - want) / scale).max() < 0.03
    assert np.abs((np.cov(x.T) - S) / scale).max() > 0.3  # control: the prior's own covariance
    np.testing.assert_allclose(x.mean(0).reshape(8, 8), prior(z, 0.3), atol=0.01)


@pytest.fixture(scope="module")
def shipped64() -> GaussianPrior:
    return load_prior("galaxy-gaussian")


def test_shipped_priors_load_at_other_sizes(shipped64):
    assert "galaxy-gaussian" in shipped()
    prior = load_prior("galaxy-gaussian", 16)
    assert prior.n == 16 and np.isfinite(np.asarray(prior.basis)).all()
    sums = [float(np.sum(np.asarray(p.eigenvalues)) / p.n**2) for p in (load_prior("galaxy-gaussian", 24), shipped64)]
    assert abs(sums[0] / sums[1] - 1) < 0.1  # the same field, whatever its pixels


def test_shipped_prior_removes_noise_from_galaxies_off_centre(shipped64):
    """Mean squared error over sigma^2 of the analytic denoiser; docs/gaussian_prior.md has 0.1 at sigma = 0.3."""
    prior, sigma = shipped64, 0.3
    x = jnp.asarray(galaxies(77, 64, 64, GalaxyRecipe(centre_sd=3.0)) / prior.scale)
    noisy = x + sigma * jax.random.normal(jax.random.key(0), x.shape)
    narrow = eqx.tree_at(lambda p: p.basis, prior, 0.1 * prior.basis)
    error = [float(jnp.mean((p(noisy, sigma) - x) ** 2)) / sigma**2 for p in (prior, narrow)]
    assert error[0] < 0.2 and error[1] > 0.2  # control: a tenth of the spread


def test_errors(tmp_path):
    with pytest.raises(BlindlensError, match="there is no prior file"):
        load_prior("no-such-prior")
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BlindlensError, match="not a readable blindlens file"):
        load_prior(str(tmp_path / "broken.safetensors"))


def test_the_digest_is_the_same_whatever_rounding_does_and_no_others():
    """Eigenvectors from one core and from two differ in their last digits; a run must go on with either."""
    prior = load_prior("galaxy-gaussian", 16)
    noise = 1 + 1e-6 * np.random.default_rng(0).normal(size=prior.basis.shape)
    rounded = eqx.tree_at(lambda g: g.basis, prior, prior.basis * jnp.asarray(noise, jnp.float32))
    assert rounded.digest() == prior.digest()
    brighter = eqx.tree_at(lambda g: g.mean, prior, 1.1 * prior.mean)
    assert len({g.digest() for g in (prior, brighter, load_prior("galaxy-gaussian", 18))}) == 3
