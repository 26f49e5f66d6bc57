import jax
import jax.numpy as jnp
import numpy as np

from blindlens.sampler.langevin import langevin

PRECISION = jnp.array([[4.0, 1.0], [1.0, 1.0]])


def log_density(v):
    return -v @ PRECISION @ v / 2


def run(log_density, size, steps, chains=4000, inside=None, factor=None):
    region = {} if inside is None else {"inside": inside}
    keys = jax.random.split(jax.random.key(0), chains)
    start = jnp.full((chains, 2), 0.1)
    walk = jax.jit(jax.vmap(lambda k, v: langevin(k, v, log_density, size, steps, factor=factor, **region)))
    return walk(keys, start)


def test_the_variance_is_that_of_the_discrete_walk():
    """Q^-1 (I - size Q / 2)^-1, not Q^-1: the error of a step that nothing corrects."""
    size = 0.2
    Q = np.asarray(PRECISION)
    wanted = np.linalg.inv(Q) @ np.linalg.inv(np.eye(2) - size * Q / 2)
    found = np.cov(np.asarray(run(log_density, size, 120).position).T)
    error = np.sqrt((wanted**2 + np.outer(np.diag(wanted), np.diag(wanted))) / 4000)
    assert np.abs((found - wanted) / error).max() < 4
    assert np.abs((found - np.linalg.inv(Q)) / error).max() > 8


def test_a_factor_makes_all_directions_alike():
    factor = jnp.linalg.cholesky(jnp.linalg.inv(PRECISION))
    walk = run(log_density, 0.05, 150, factor=factor)
    wanted = np.linalg.inv(np.asarray(PRECISION)) / (1 - 0.05 / 2)
    found = np.cov(np.asarray(walk.position).T)
    error = np.sqrt((wanted**2 + np.outer(np.diag(wanted), np.diag(wanted))) / 4000)
    assert np.abs((found - wanted) / error).max() < 4


def test_walls():
    """A flat density between walls stays flat; steps that would leave are counted; control: no walls."""
    flat = lambda v: 0.0 * jnp.sum(v)  # noqa: E731
    walk = run(flat, 0.01, 300, inside=lambda v: jnp.all(jnp.abs(v) < 0.5))
    share = np.sort(np.asarray(walk.position).ravel() + 0.5)
    assert np.abs(share - (np.arange(8000) + 0.5) / 8000).max() < 2.2 / np.sqrt(8000)
    assert 0.1 < float(walk.refused.mean()) < 0.6
    assert np.abs(np.asarray(run(flat, 0.01, 300).position)).max() > 1


def test_gradients_that_are_not_finite_are_reported_and_do_no_harm():
    broken = lambda v: jnp.where(v[0] > 0, jnp.nan, 1.0) * v[1]  # noqa: E731
    walk = run(broken, 0.01, 20, chains=8)
    assert not walk.finite.any() and np.isfinite(np.asarray(walk.position)).all()
    assert run(log_density, 0.01, 20, chains=8).finite.all()
