"""Flights of a lens and a noisy image leave their density as it is, wherever it lies; a broken one does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.sampler.flight import Forces, Kind, Place, White, flights, fly

N, D, SIGMA, SKEW = 4, 2, 0.3, 0.3
rng = np.random.default_rng(0)
ROOT = jnp.asarray(rng.normal(size=(N * N, N * N)) / N, jnp.float32)
S = ROOT @ ROOT.T
MEAN = 5 * jnp.asarray(rng.normal(size=N * N), jnp.float32)  # twenty times the noise
K = jnp.asarray(rng.normal(size=(D, N * N)) / N, jnp.float32)
FACTOR = jnp.array([[0.5, 0.0], [0.3, 0.4]])
LINKED = jnp.asarray(np.tril(rng.normal(size=(D + 3, D + 3)) / 4, -1) + np.diag([2.0, 2.5, 1.2, 0.8, 1.5]), jnp.float32)
WHITE = White(LINKED, jnp.asarray(np.linalg.qr(rng.normal(size=(N * N, 3)))[0], jnp.float32), jnp.asarray(SIGMA))


def log_conditional(eta, x_t):
    """eta given x_t: a banana about K (x_t - MEAN)."""
    z = jax.scipy.linalg.solve_triangular(FACTOR, eta - K @ (x_t.ravel() - MEAN), lower=True)
    return -jnp.sum(z.at[1].add(-SKEW * (z[0] ** 2 - 1)) ** 2) / 2


def forces(w, claim=1.0, share=1.0):
    """claim: of the score, how much is told. share: of the slope in eta, how much there is."""
    eta, x_t = WHITE.at(w)
    shrink = jnp.linalg.solve(S + SIGMA**2 * jnp.eye(N * N), S)
    away = x_t.ravel() - MEAN
    score = ((shrink @ away - away) / SIGMA**2).reshape(N, N)
    by_eta, by_x = jax.grad(log_conditional, (0, 1))(eta, x_t)
    score = WHITE.slope(0 * eta, score)
    return Forces(WHITE.slope(share * by_eta, by_x) + (1 - claim) * score, claim * score)


def f(w):
    return log_conditional(*WHITE.at(w))


def exact(key, count):
    one, two, three = jax.random.split(key, 3)
    x_t = jax.random.normal(one, (count, N * N)) @ ROOT.T + SIGMA * jax.random.normal(two, (count, N * N)) + MEAN
    z = jax.random.normal(three, (count, D))
    z = z.at[:, 1].add(SKEW * (z[:, 0] ** 2 - 1))
    return z @ FACTOR.T + (x_t - MEAN) @ K.T, x_t.reshape(count, N, N)


def z_scores(claim=1.0, share=1.0, alone=False, chains=2000, moves=15):
    """Of the moments of eta and of some pixels after as many moves from exact draws; and the mean acceptance. alone:
    the image stays.
    """
    free = (jnp.arange(D + N * N) < D) | (not alone)

    def run(key, eta, x_t):
        def step(place, key):
            place, info = fly(key, place, f, lambda w: forces(w, claim, share), jnp.asarray(0.5), 5, free)
            return place, info.acceptance

        w = WHITE.of(eta, x_t)
        place, acceptance = jax.lax.scan(step, Place(w, f(w)), jax.random.split(key, moves))
        return WHITE.at(place.w), acceptance

    (eta, x_t), acceptance = jax.jit(jax.vmap(run))(
        jax.random.split(jax.random.key(2), chains), *exact(jax.random.key(1), chains)
    )

    def moments(eta, x_t):
        t = jnp.concatenate([eta, x_t.reshape(len(x_t), -1)[:, :4] - MEAN[:4]], 1)
        return jnp.concatenate([t, t**2, t[:, :1] * t[:, 1:], t[:, :1] ** 2 * t[:, 1:2]], 1)

    truth, got = moments(*exact(jax.random.key(3), 400_000)), moments(eta, x_t)
    z = np.asarray((got.mean(0) - truth.mean(0)) / (got.std(0) / np.sqrt(chains)))
    return z, float(acceptance.mean())


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_the_density_is_invariant(share):
    """Also if the force is not the gradient."""
    z, acceptance = z_scores(share=share)
    print(f"acceptance {acceptance:.2f}")
    assert np.abs(z).max() < 4
    assert 0.5 < acceptance < 0.999  # something was to be corrected


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_a_lens_alone_leaves_it_too(share):
    """In coordinates in which the image is no part of the lens."""
    z, acceptance = z_scores(share=share, alone=True)
    print(f"acceptance {acceptance:.2f}")
    assert np.abs(z).max() < 4
    assert 0.5 < acceptance < 0.999


def test_flights_of_each_kind_go_as_far_as_they_are_told():
    """The lens alone, by two steps; then all, by one."""
    w = WHITE.of(*(part[0] for part in exact(jax.random.key(4), 1)))
    asked = []

    def told(w, whole):
        jax.debug.callback(lambda whole: asked.append(bool(whole)), whole, ordered=True)
        return Forces(jnp.zeros_like(w), -w)

    def end(count):
        kinds = Kind(jnp.array([0.4, 0.4]), jnp.array([2, 1]), jnp.array([False, True]))
        kinds = jax.tree.map(lambda leaf: leaf[:count], kinds)
        keys = jax.random.split(jax.random.key(5), 2)[:count]
        return flights(keys, Place(w, jnp.zeros(())), lambda _: jnp.zeros(()), told, kinds, D)[0]

    once = end(1)
    np.testing.assert_array_equal(once[D:], w[D:])
    assert float(jnp.abs(once - w)[:D].min()) > 0.01
    assert asked == 3 * [False]
    asked.clear()
    assert float(jnp.abs(end(2) - once).min()) > 0
    assert asked == 3 * [False] + 2 * [True]


def test_control_a_wrong_change_of_the_density_fails():
    assert np.abs(z_scores(claim=0.7)[0]).max() > 8


@pytest.mark.parametrize("centre", [0.0, 100.0])
def test_noise_alone_costs_no_acceptance(centre):
    """D constant, wherever it is: the energy is kept whatever the angle, where the plain leapfrog's is not."""
    D_ = centre * jnp.ones(D + 16 * 16)
    still = lambda w: Forces(jnp.zeros_like(w), D_ - w)  # noqa: E731
    w = D_ + jax.random.normal(jax.random.key(0), D_.shape)
    begin = Place(w, jnp.zeros(()))
    _, info = fly(jax.random.key(1), begin, lambda w: jnp.zeros(()), still, jnp.asarray(1.3), 7)
    assert float(info.acceptance) > 0.9


def test_coordinates_go_there_and_back_and_take_gradients_along():
    eta, x_t = jnp.array([0.3, -0.7]), jnp.asarray(rng.normal(size=(N, N)), jnp.float32)
    w = WHITE.of(eta, x_t)
    there = WHITE.at(w)
    np.testing.assert_allclose(there[0], eta, atol=1e-5)
    np.testing.assert_allclose(there[1], x_t, atol=1e-5)
    f = lambda eta, x_t: jnp.sum(jnp.sin(eta)) * jnp.sum(x_t**3)  # noqa: E731
    np.testing.assert_allclose(
        WHITE.slope(*jax.grad(f, (0, 1))(eta, x_t)), jax.grad(lambda w: f(*WHITE.at(w)))(w), rtol=1e-3, atol=1e-4
    )
    # a Gaussian with that precision along eta and Q is a normal density of variance 1
    Q = WHITE.Q
    u = jnp.concatenate([eta, Q.T @ x_t.ravel() / SIGMA])
    inside = jnp.sum((LINKED.T @ u) ** 2)
    beyond = jnp.sum((x_t.ravel() - Q @ (Q.T @ x_t.ravel())) ** 2) / SIGMA**2
    assert float(jnp.sum(w**2)) == pytest.approx(float(inside + beyond), rel=1e-4)
