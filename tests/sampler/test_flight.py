"""Flights of a lens and a noisy image leave their density as it is, wherever it lies; a broken one does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.sampler.flight import Forces, fly

N, D, SIGMA, SKEW = 4, 2, 0.3, 0.3
rng = np.random.default_rng(0)
ROOT = jnp.asarray(rng.normal(size=(N * N, N * N)) / N, jnp.float32)
S = ROOT @ ROOT.T
MEAN = 5 * jnp.asarray(rng.normal(size=N * N), jnp.float32)  # twenty times the noise
K = jnp.asarray(rng.normal(size=(D, N * N)) / N, jnp.float32)
FACTOR = jnp.array([[0.5, 0.0], [0.3, 0.4]])


def log_conditional(eta, x_t):
    """eta given x_t: a banana about K (x_t - MEAN)."""
    z = jax.scipy.linalg.solve_triangular(FACTOR, eta - K @ (x_t.ravel() - MEAN), lower=True)
    return -jnp.sum(z.at[1].add(-SKEW * (z[0] ** 2 - 1)) ** 2) / 2


def forces(eta, x_t, claim=1.0):
    """claim: of the change of D, how much is told."""
    shrink = jnp.linalg.solve(S + SIGMA**2 * jnp.eye(N * N), S)
    away = shrink @ (x_t.ravel() - MEAN)
    D_ = (MEAN + away).reshape(N, N)
    f, (gradient, up) = jax.value_and_grad(log_conditional, (0, 1))(eta, x_t)
    return Forces(f, gradient, (MEAN + claim * away).reshape(N, N), D_ + SIGMA**2 * up)


def exact(key, count):
    one, two, three = jax.random.split(key, 3)
    x_t = jax.random.normal(one, (count, N * N)) @ ROOT.T + SIGMA * jax.random.normal(two, (count, N * N)) + MEAN
    z = jax.random.normal(three, (count, D))
    z = z.at[:, 1].add(SKEW * (z[:, 0] ** 2 - 1))
    return z @ FACTOR.T + (x_t - MEAN) @ K.T, x_t.reshape(count, N, N)


def z_scores(claim, chains=2000, moves=15):
    """Of the moments of eta and of some pixels after as many moves from exact draws; and the mean acceptance."""

    def run(key, eta, x_t):
        def step(state, key):
            *state, info = fly(
                key, *state, lambda e, x: forces(e, x, claim), 1.1 * FACTOR, jnp.asarray(SIGMA), jnp.asarray(0.5), 5
            )
            return tuple(state), info.acceptance

        return jax.lax.scan(step, (eta, x_t), jax.random.split(key, moves))

    (eta, x_t), acceptance = jax.jit(jax.vmap(run))(
        jax.random.split(jax.random.key(2), chains), *exact(jax.random.key(1), chains)
    )

    def moments(eta, x_t):
        t = jnp.concatenate([eta, x_t.reshape(len(x_t), -1)[:, :4] - MEAN[:4]], 1)
        return jnp.concatenate([t, t**2, t[:, :1] * t[:, 1:], t[:, :1] ** 2 * t[:, 1:2]], 1)

    truth, got = moments(*exact(jax.random.key(3), 400_000)), moments(eta, x_t)
    z = np.asarray((got.mean(0) - truth.mean(0)) / (got.std(0) / np.sqrt(chains)))
    return z, float(acceptance.mean())


def test_the_density_is_invariant():
    z, acceptance = z_scores(1.0)
    assert np.abs(z).max() < 4
    assert 0.5 < acceptance < 0.999  # something was to be corrected


def test_control_a_wrong_change_of_the_density_fails():
    assert np.abs(z_scores(0.7)[0]).max() > 8


@pytest.mark.parametrize("centre", [0.0, 100.0])
def test_noise_alone_costs_no_acceptance(centre):
    """D constant, wherever it is: the energy is kept whatever the angle, where the plain leapfrog's is not."""
    D_, sigma = jnp.full((16, 16), centre * SIGMA), jnp.asarray(SIGMA)
    still = lambda eta, x_t: Forces(-jnp.sum(eta**2) / 2, -eta, D_, D_)  # noqa: E731
    x_t = D_ + SIGMA * jax.random.normal(jax.random.key(0), D_.shape)
    *_, info = fly(jax.random.key(1), jnp.ones(D), x_t, still, jnp.eye(D), sigma, jnp.asarray(1.3), 7)
    assert float(info.acceptance) > 0.9
