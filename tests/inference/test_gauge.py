"""Moves of the source with its field: what they change of the prior, and that they leave it as it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.config import RunConfig
from blindlens.inference import gauge
from blindlens.inference.gauge import growth, log_change, regauged, shift
from blindlens.inference.problem import build_problem
from blindlens.inference.scales import image_scales
from blindlens.lens.mass import LensModel
from blindlens.observation import Observation
from blindlens.prior import GaussianPrior, load_prior
from blindlens.prior.galaxies import galaxies as procedural

NOISE = 0.8
"""Of the images that move, where moves are to leave their density as it is."""


def galaxies(n, dtype=jnp.float32):
    """A prior of sources about the middle of n x n pixels."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
    prior = GaussianPrior.from_profiles(
        n, r, 2 * np.exp(-((r / 0.5) ** 2)), 0.05 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k) ** 2, 10.0, 0.0, "test"
    )
    return jax.tree.map(lambda leaf: leaf.astype(dtype), prior)


def noisy(prior, sigma, key=1):
    one, two = jax.random.split(jax.random.key(key))
    return prior.sample(one) + sigma * jax.random.normal(two, prior.mean.shape, prior.mean.dtype)


def log_density(prior, sigma):
    """log N(x; mean, S + sigma^2), by dense linear algebra."""
    n2, B = prior.n**2, np.asarray(prior.basis)
    E = B / np.linalg.norm(B, axis=0)
    S = B @ B.T + prior.delta**2 * (np.eye(n2) - E @ E.T) + sigma**2 * np.eye(n2)

    def at(x):
        d = np.asarray(x - prior.mean).ravel()
        return -d @ np.linalg.solve(S, d) / 2

    return at


@pytest.mark.parametrize("by", [(1, 0), (0, -1), (1, 1)])
def test_a_shift_changes_the_density_as_the_line_integral_says(by):
    n, sigma = 16, 0.3
    with jax.enable_x64(True):
        prior = galaxies(n, jnp.float64)
        # a shift by the Fourier series is the shift by whole pixels where there is no power at the Nyquist frequency
        waves = jnp.fft.fft2(noisy(prior, sigma)).at[n // 2].set(0).at[:, n // 2].set(0)
        x_t, at = jnp.fft.ifft2(waves).real, log_density(prior, sigma)
        exact = at(jnp.roll(x_t, (by[1], by[0]), (0, 1))) - at(x_t)
        ours, opposite = (
            float(log_change(Hidden(prior, n=n), shift(x_t, sign * jnp.array(by)), jnp.asarray(sigma), 8))
            for sign in (1, -1)
        )
        assert abs(exact) > 1
        assert abs(ours - exact) < 1e-6 * abs(exact)
        assert abs(opposite - exact) > 1  # control


@pytest.mark.parametrize("by", [0.08, -0.06])
def test_so_does_growth(by):
    n, sigma = 16, 0.3
    with jax.enable_x64(True):
        prior = galaxies(n, jnp.float64)
        x_t, at = noisy(prior, sigma), log_density(prior, sigma)
        along, back = (growth(x_t, jnp.asarray(sign * by), jnp.asarray(-0.2)) for sign in (1, -1))
        exact = at(along(1.0)[0]) - at(x_t)
        assert abs(exact) > 0.3
        ours = float(log_change(Hidden(prior, n=n), along, jnp.asarray(sigma), 16))
        assert abs(ours - exact) < 1e-4 * abs(exact)
        assert abs(float(log_change(Hidden(prior, n=n), back, jnp.asarray(sigma), 16)) - exact) > 0.3  # control


@pytest.mark.slow
def test_line_integrals_of_the_longest_growth_have_converged():
    """Under `galaxy64`, in noise that turns as far as the source does."""
    prior = load_prior("galaxy64")
    x = (jnp.asarray(procedural(1, 2)) - prior.offset) / prior.scale
    change = jax.jit(
        lambda x_t, by, sigma, nodes: log_change(prior, growth(x_t, by, -prior.offset / prior.scale), sigma, nodes),
        static_argnums=3,
    )
    off = {gauge.GROWTH_NODES: [], 8: []}
    by = jnp.asarray(gauge.MOST)
    for sigma in (1.0, 0.1):
        for k, one in enumerate(x):
            x_t = one + sigma * jax.random.normal(jax.random.key(k), one.shape)
            exact = float(change(x_t, by, jnp.asarray(sigma), 96))
            for nodes, found in off.items():
                found.append(float(change(x_t, by, jnp.asarray(sigma), nodes)) - exact)
            print(
                f"noise {sigma}: {exact:.2f}, off by {off[gauge.GROWTH_NODES][-1]:.2f}, with 8 nodes {off[8][-1]:.2f}"
            )
    assert np.abs(off[gauge.GROWTH_NODES]).max() < 0.3
    assert np.abs(off[8]).max() > 0.5


def test_growth_is_a_rotation_that_makes_sources_larger_and_fainter():
    n, sky, by = 64, -0.2, 0.08
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    blob = lambda width: jnp.asarray(np.exp(-((x - 4) ** 2 + (y + 3) ** 2) / (2 * width**2)), jnp.float32)  # noqa: E731
    there, slope = growth(sky + blob(4.0), jnp.asarray(by), jnp.asarray(sky))(jnp.asarray(1.0))
    g = np.exp(by)
    larger = np.exp(-((x - 4 * g) ** 2 + (y + 3 * g) ** 2) / (2 * (4 * g) ** 2)) / g
    np.testing.assert_allclose(there, sky + larger, atol=2e-3)
    assert np.abs(sky + larger - (sky + blob(4.0))).max() > 0.05
    noise = jax.random.normal(jax.random.key(0), (n, n))
    along = growth(noise, jnp.asarray(by), jnp.asarray(0.0))
    assert float(jnp.sum(along(jnp.asarray(1.0))[0] ** 2)) == pytest.approx(float(jnp.sum(noise**2)), rel=1e-5)
    np.testing.assert_allclose(along(jnp.asarray(0.0))[0], noise, atol=1e-4)
    # what grows and shrinks again is itself
    back = growth(there, jnp.asarray(-by), jnp.asarray(sky))(jnp.asarray(1.0))[0]
    np.testing.assert_allclose(back, sky + blob(4.0), atol=1e-4)
    h = 1e-2
    along = growth(sky + blob(4.0), jnp.asarray(by), jnp.asarray(sky))
    np.testing.assert_allclose(slope, (along(1 + h)[0] - along(1 - h)[0]) / (2 * h), atol=1e-4)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    observation = Observation(rng.normal(size=(24, 24)) + 1.0, np.ones((24, 24)), np.ones((1, 1)), None, 0.15)
    config = RunConfig(lens_light="none", flux_scale="infer")
    scales = image_scales(observation, config)
    made = build_problem(observation, load_prior("galaxy-gaussian", 16), LensModel(), config, None, scales)
    return made if "source_fov" in made.space.names else made.with_free_field(scales)


def test_the_image_stays_where_the_field_shrinks_as_the_source_grows(problem):
    n, by = problem.operator.n, jnp.asarray(0.06)
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    source = problem.sky + jnp.asarray(np.exp(-((x - 1) ** 2 + y**2) / 8), jnp.float32)
    eta = jnp.zeros(problem.space.size)
    (grown, inside), moved = problem.enlarged(eta, -by), growth(source, by, problem.sky)(jnp.ones(()))[0]
    before, after = problem.source_image(eta, source), problem.source_image(grown, moved)
    unmoved = problem.source_image(eta, moved)
    assert bool(inside)
    assert float(jnp.abs(after - before).max()) < 0.02 * float(before.max())
    assert float(jnp.abs(unmoved - before).max()) > 0.04 * float(before.max())
    there, back = problem.params(grown), problem.params(problem.enlarged(grown, by)[0])
    assert float(there["source_fov"] / problem.params(eta)["source_fov"]) == pytest.approx(np.exp(-0.06), rel=1e-4)
    for name, value in problem.params(eta).items():
        np.testing.assert_allclose(back[name], value, rtol=1e-4, atol=1e-5)
    assert not bool(problem.enlarged(eta, jnp.asarray(9.0))[1])


def z_scores(problem, prior, told, log_likelihood=lambda eta, x_t: jnp.zeros(()), chains=1500, moves=12):
    """Of moments of eta and x_t after moves from exact draws of p(l) p_sigma(x_t); the shares of moves that were made.

    told: the prior by which moves are accepted, times the likelihood.
    """
    sigma = NOISE
    names = [problem.space.block(name)[1] for name in ("xs", "ys", "flux_scale", "source_fov")]

    def run(key):
        one, two, three, four = jax.random.split(key, 4)
        x_t = prior.sample(one) + sigma * jax.random.normal(two, prior.mean.shape)
        begin = (jax.random.normal(three, (problem.space.size,)), x_t)
        keys = jax.random.split(four, moves)
        eta, x_t, made = regauged(keys, *begin, jnp.asarray(sigma), problem, told, log_likelihood)
        return begin, (eta, x_t), made

    @jax.jit
    def all_of(keys):
        return jax.lax.map(run, keys, batch_size=100)

    def moments(eta, x_t):
        n, e = prior.n, eta[:, jnp.array(names)]
        r = jnp.arange(n) - (n - 1) / 2
        light = x_t - prior.mean
        t = jnp.stack(
            [
                light.mean((1, 2)),
                (light * r).mean((1, 2)),
                (light * r[:, None]).mean((1, 2)),
                (light * (r**2 + r[:, None] ** 2)).mean((1, 2)),
                light[:, n // 2, n // 2],
            ],
            1,
        )
        t = jnp.concatenate([e, t / t.std(0)], 1)
        return jnp.concatenate([t, t**2, t[:, :4] * t[:, 4:5], t[:, :4] * t[:, 7:8]], 1)

    before, after, made = all_of(jax.random.split(jax.random.key(7), chains))
    # of the same chains, so that the draws' own scatter matters less
    change = moments(*after) - moments(*before)
    return np.asarray(change.mean(0) / (change.std(0) / np.sqrt(chains))), np.asarray(made.mean(0))


@pytest.mark.slow
def test_moves_leave_the_prior_as_it_is(problem):
    prior = galaxies(16)
    z, made = z_scores(problem, prior, Hidden(prior, n=16))
    print("made", made, "z", z.round(1))
    assert np.abs(z).max() < 4
    assert (made > 0.05).all() and (made < 0.95).all()


@pytest.mark.slow
def test_control_moves_that_are_always_made_do_not(problem, monkeypatch):
    monkeypatch.setattr(gauge, "log_change", lambda *_: jnp.zeros(()))
    prior = galaxies(16)
    assert np.abs(z_scores(problem, prior, Hidden(prior, n=16))[0]).max() > 8


@pytest.mark.slow
def test_the_likelihood_takes_part(problem):
    """Under another prior, whose ratio to the right one is the likelihood; left out, the density changes."""
    prior = galaxies(16)
    # the other's sources lie off the middle
    other = eqx.tree_at(lambda p: p.mean, prior, jnp.roll(prior.mean, (2, -1), (0, 1)))
    B = np.asarray(prior.basis, float)
    E = B / np.linalg.norm(B, axis=0)
    S = B @ B.T + prior.delta**2 * (np.eye(256) - E @ E.T) + NOISE**2 * np.eye(256)
    # log N(x; mean, S) - log N(x; other mean, S) but for a constant
    weight = jnp.asarray(np.linalg.solve(S, np.asarray(prior.mean - other.mean, float).ravel()), jnp.float32)
    z, made = z_scores(problem, prior, Hidden(other, n=16), lambda eta, x_t: x_t.ravel() @ weight)
    print("made", made, "z", z.round(1))
    assert np.abs(z).max() < 4
    assert np.abs(z_scores(problem, prior, Hidden(other, n=16))[0]).max() > 8  # control
