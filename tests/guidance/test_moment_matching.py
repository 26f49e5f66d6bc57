"""Guidance on a Gaussian prior, where every moment is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.guidance import Measurement, local_gaussian, moment_matching
from blindlens.prior import GaussianPrior

N = 8


NOTHING = Measurement(lambda x: jnp.zeros(1) * x.sum(), lambda columns: jnp.zeros((1, columns.shape[1])), jnp.zeros(1))


@pytest.fixture(scope="module")
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def prior(double):
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
    sd = 0.2 + 0.3 * np.exp(-r / 0.4)
    made = GaussianPrior.from_profiles(N, r, np.exp(-r / 0.3), sd, k, 1 / (1 + k), 10.0, 0.0, "test", delta=0.1)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), made)


def covariance(prior: GaussianPrior) -> np.ndarray:
    B = np.asarray(prior.basis)
    E = B / np.linalg.norm(B, axis=0)
    return B @ B.T + prior.delta**2 * (np.eye(N * N) - E @ E.T)


def test_where_x_has_two_modes_it_is_more_uncertain_than_the_noise(double):
    """x = 1 or -1 in every pixel: the variance of x given x_t is 1 - tanh(x_t/s^2)^2, above s^2 between the two."""
    sigma, x_t = 0.5, 0.3 * jax.random.normal(jax.random.key(0), (N, N), float)
    local = local_gaussian(lambda x, s: jnp.tanh(x / s**2), x_t, jnp.asarray(sigma), jnp.eye(N * N), NOTHING, 0)
    E, sd = np.asarray(local.directions), np.asarray(local.sd(sigma))
    variance = 1 - np.tanh(np.asarray(x_t).ravel() / sigma**2) ** 2
    assert variance.max() > 3 * sigma**2
    np.testing.assert_allclose(np.diag((E * sd) @ (E * sd).T), variance, rtol=1e-6)
    # and with less noise, as long as there is one mode of it: 1/v + 1/s'^2 - 1/s^2
    np.testing.assert_allclose(np.asarray(local.sd(0.1)) ** -2.0, sd**-2.0 + 100 - 4, rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_local_gaussian_is_the_posterior_given_the_noisy_image(prior, sigma):
    x_t = prior.sample(jax.random.key(1)) + sigma * jax.random.normal(jax.random.key(2), (N, N))
    local = local_gaussian(Hidden(prior), x_t, jnp.asarray(sigma), jnp.eye(N * N), NOTHING, 0)
    S = covariance(prior)
    C = S - S @ np.linalg.solve(S + sigma**2 * np.eye(N * N), S)
    E = np.asarray(local.directions)
    ours = (E * np.asarray(local.sd(sigma)) ** 2) @ E.T
    np.testing.assert_allclose(ours, C, atol=1e-8 * C.max())
    np.testing.assert_allclose(local.mean, prior(x_t, sigma))
    # carried to a lower noise level without asking the denoiser again
    lower = 0.4 * sigma
    C = S - S @ np.linalg.solve(S + lower**2 * np.eye(N * N), S)
    np.testing.assert_allclose((E * np.asarray(local.sd(lower)) ** 2) @ E.T, C, atol=1e-8 * C.max())
    # control: the covariance at one level is not that at another
    assert np.abs(ours - C).max() > 1e-3 * C.max()


def test_directions_in_which_the_derivative_is_all_error_are_as_uncertain_as_that_error(prior):
    class Bent(Hidden):
        """A denoiser whose derivative is wrong by an antisymmetric and a negative part, as a network's is."""

        def __call__(self, x_t, sigma):
            flat = x_t.ravel()
            wrong = 0.02 * (jnp.roll(flat, 1) - jnp.roll(flat, -1)) - 0.2 * jnp.where(jnp.arange(N * N) % 2, flat, 0)
            return self.gaussian(x_t, sigma) + wrong.reshape(x_t.shape)

    x_t, sigma = prior.sample(jax.random.key(1)), jnp.asarray(0.5)

    def least(denoiser):
        """The least eigenvalue of the derivative's symmetric part, and of what is made of it."""
        J = np.asarray(jax.jacobian(lambda x: denoiser(x, sigma).ravel())(x_t)).reshape(N * N, N * N)
        local = local_gaussian(denoiser, x_t, sigma, jnp.eye(N * N), NOTHING, 0)
        assert np.asarray(local.share).max() <= 1
        return np.linalg.eigvalsh(J + J.T)[0] / 2, np.asarray(local.share).min()

    error, kept = least(Bent(prior))
    assert error < -0.05 and kept == pytest.approx(-error, rel=0.15)
    exact, kept = least(Hidden(prior))  # control: nothing is added where nothing is wrong
    assert exact > 0 and kept == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("probes, krylov", [(N * N, 0), (10, 20), (10, 40), (N * N, 5)])
def test_guidance_is_exact_for_a_gaussian_prior(prior, probes, krylov):
    """With all directions, or with a few and those of Krylov: as many as there are data, or more than there can be."""
    sigma, A = 0.7, jax.random.normal(jax.random.key(3), (20, N * N)) / N
    x = prior.sample(jax.random.key(4))
    y = 5 * A @ x.ravel() + jax.random.normal(jax.random.key(5), (20,))
    x_t = x + sigma * jax.random.normal(jax.random.key(6), (N, N))
    measurement = Measurement(lambda x: 5 * A @ x.ravel(), lambda columns: 5 * A @ columns, y)
    Q = jnp.eye(N * N)[:, :probes]
    local = local_gaussian(Hidden(prior), x_t, jnp.asarray(sigma), Q, measurement, krylov)
    guided = moment_matching(Hidden(prior), local, measurement)
    S = covariance(prior)

    def exact(level):
        precision = np.linalg.inv(S) + np.eye(N * N) / level**2 + 25 * np.asarray(A.T @ A)
        right = np.linalg.solve(S, np.asarray(prior.mean).ravel()) + np.asarray(x_t).ravel() / level**2
        return np.linalg.solve(precision, right + 5 * np.asarray(A.T @ y)).reshape(N, N)

    np.testing.assert_allclose(guided(x_t, sigma), exact(sigma), atol=1e-6)
    # controls: without the data, and with the few directions alone
    assert np.abs(np.asarray(prior(x_t, sigma)) - exact(sigma)).max() > 1e-2
    few = local_gaussian(Hidden(prior), x_t, jnp.asarray(sigma), jnp.eye(N * N)[:, :10], measurement, 0)
    alone = moment_matching(Hidden(prior), few, measurement)
    assert np.abs(np.asarray(alone(x_t, sigma)) - exact(sigma)).max() > 1e-2
    # the directions stay orthonormal, or nothing, when there are no more to be found
    gram = np.asarray(local.directions.T @ local.directions)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram) > 0.5), atol=1e-6)
    if probes == N * N:
        np.testing.assert_allclose(guided(x_t, 0.2), exact(0.2), atol=1e-6)
