"""Every kernel through the same test: its draws have the target's moments; a broken kernel must fail it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.sampler.diffusion import probability_flow
from blindlens.sampler.kernels import Mixture, differential, init, jump, metropolis, rotate

D = 3
FACTOR = jnp.linalg.cholesky(jnp.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]]))
SKEW = 0.4


def log_density(position):
    """A banana: correlated normals with the last one bent by the square of the first."""
    z = jax.scipy.linalg.solve_triangular(FACTOR, position, lower=True)
    return -jnp.sum(z.at[2].add(-SKEW * (z[0] ** 2 - 1)) ** 2) / 2


def exact(key, n):
    z = jax.random.normal(key, (n, D))
    return z.at[:, 2].add(SKEW * (z[:, 0] ** 2 - 1)) @ FACTOR.T


MIXTURE = Mixture(jnp.zeros((2, D)), jnp.stack([FACTOR * 1.2, FACTOR * 2]), jnp.log(jnp.array([0.7, 0.3])))
OTHERS = exact(jax.random.key(9), 20)
KERNELS = {
    "rotate": lambda key, s: rotate(key, s, log_density, jnp.zeros(D), 1.1 * FACTOR, jnp.asarray(0.9)),
    "rotate, three steps": lambda key, s: rotate(key, s, log_density, jnp.zeros(D), 1.1 * FACTOR, jnp.asarray(0.5), 3),
    "jump": lambda key, s: jump(key, s, log_density, MIXTURE),
    "differential": lambda key, s: differential(key, s, log_density, OTHERS),
}


def always_accepts(key, state):
    proposal = init(state.position + 0.7 * jax.random.normal(key, (D,)), log_density)
    proposal = proposal._replace(position=0.8 * proposal.position)
    return metropolis(key, proposal, state, jnp.zeros(()))


def z_scores(kernel, chains=2000, steps=30):
    """Start chains in the exact distribution; moments after `steps` steps must still be the exact ones."""
    start = exact(jax.random.key(1), chains)

    def run(key, position):
        def step(state, key):
            return kernel(key, state)[0], None

        return jax.lax.scan(step, init(position, log_density), jax.random.split(key, steps))[0].position

    end = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(2), chains), start)
    moments = lambda t: jnp.concatenate([t, t**2, t[:, :1] * t[:, 1:], t[:, :1] ** 2 * t[:, 2:]], 1)  # noqa: E731
    truth = moments(exact(jax.random.key(3), 400_000))
    got = moments(end)
    return np.asarray((got.mean(0) - truth.mean(0)) / (got.std(0) / np.sqrt(chains)))


@pytest.mark.parametrize("name", KERNELS)
def test_the_target_is_invariant(name):
    assert np.abs(z_scores(KERNELS[name])).max() < 4


def test_control_a_kernel_that_always_accepts_fails():
    assert np.abs(z_scores(always_accepts)).max() > 8


def test_rotation_by_a_right_angle_is_independent_of_a_gaussian_past():
    gaussian = lambda p: -jnp.sum(jax.scipy.linalg.solve_triangular(FACTOR, p, lower=True) ** 2) / 2  # noqa: E731
    state = init(jnp.full(D, 5.0), gaussian)
    keys = jax.random.split(jax.random.key(0), 4000)
    angle = jnp.asarray(jnp.pi / 2)
    step = jax.vmap(lambda k: rotate(k, state, gaussian, jnp.zeros(D), FACTOR, angle))
    new, info = step(keys)
    assert float(info.acceptance.min()) > 0.999
    np.testing.assert_allclose(jnp.cov(new.position.T), FACTOR @ FACTOR.T, atol=0.15)
    np.testing.assert_allclose(new.position.mean(0), 0, atol=0.1)


def test_probability_flow_carries_one_noise_level_to_another():
    """For x ~ N(m, s^2): x_t - m shrinks by sqrt((s^2 + e^2) / (s^2 + t^2)); second order in the step."""
    s, m, start, end = 0.3, 0.4, 2.0, 0.01
    x = jnp.linspace(-3, 3, 16).reshape(4, 4)
    exact = m + (x - m) * np.sqrt((s**2 + end**2) / (s**2 + start**2))

    def denoise(x, sigma):
        return m + (x - m) * s**2 / (s**2 + sigma**2)

    def error(steps):
        with jax.enable_x64(True):
            ends = [jnp.asarray(t, jnp.float64) for t in (x, start, end)]
            return float(np.abs(probability_flow(denoise, *ends, steps)[0] - exact).max())

    x_then, D_start, D_end = probability_flow(denoise, x, start, end, 8)
    np.testing.assert_allclose(D_start, denoise(x, start), atol=1e-6)
    np.testing.assert_allclose(D_end, denoise(x_then, end), atol=1e-5)

    assert error(64) < 1e-3
    assert 3.3 < error(32) / error(64) < 4.7

    # control: with the denoiser frozen over each step the order is one
    def frozen(steps):
        y = x
        for t, u in itertools.pairwise(start * (end / start) ** np.linspace(0, 1, steps + 1)):
            y = denoise(y, t) + (u / t) * (y - denoise(y, t))
        return float(np.abs(y - exact).max())

    assert 1.5 < frozen(32) / frozen(64) < 2.5
    assert frozen(64) > 5 * error(64)


def test_the_mixtures_density_is_normalised():
    """By importance sampling from a wide normal, and against the draws' own share of a ball."""
    key = jax.random.key(4)
    wide = 4 * FACTOR
    z = jax.random.normal(key, (200_000, D))
    log_wide = -jnp.sum(z**2, 1) / 2 - D / 2 * jnp.log(2 * jnp.pi) - jnp.sum(jnp.log(jnp.diagonal(wide)))
    weight = jnp.exp(jax.vmap(MIXTURE.log_density)(z @ wide.T) - log_wide)
    assert abs(float(weight.mean()) - 1) < 0.02
    inside = jnp.linalg.norm(z @ wide.T, axis=1) < 1.5
    draws = jax.vmap(MIXTURE.sample)(jax.random.split(key, 50_000))
    share = float(jnp.mean(jnp.linalg.norm(draws, axis=1) < 1.5))
    assert abs(float((weight * inside).mean()) - share) < 0.02
    assert share > 0.1


def test_a_mixture_fitted_to_draws_takes_their_moments_and_keeps_what_no_draw_is_near():
    far = jnp.full(D, 40.0)
    old = Mixture(jnp.stack([jnp.zeros(D), far]), jnp.stack([jnp.eye(D)] * 2), jnp.array([0.0, -1.0]))
    draws = exact(jax.random.key(5), 20_000)
    new = old.fitted(draws)
    np.testing.assert_allclose(new.means[0], draws.mean(0), atol=1e-4)
    np.testing.assert_allclose(new.factors[0] @ new.factors[0].T, jnp.cov(draws.T), atol=5e-3)
    np.testing.assert_array_equal(new.means[1:], old.means[1:])
    np.testing.assert_array_equal(new.factors[1:], old.factors[1:])
    assert new.log_weights[0] - new.log_weights[1] == pytest.approx(np.log(20_000.5 / 0.5), abs=1e-3)
    # three draws move the covariance little: it counts as 2 d of them
    few = old.fitted(jnp.stack([2.0 * e for e in jnp.eye(D)]))
    expected = (jnp.cov(2 * jnp.eye(D)) * 2 + 2 * D * jnp.eye(D)) / (3 + 2 * D)
    np.testing.assert_allclose(few.factors[0] @ few.factors[0].T, expected, atol=1e-5)
