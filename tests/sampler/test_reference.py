import numpy as np
import pytest

from blindlens.sampler.reference import fitted_to_gradients

D = 6


def gaussian(seed=0):
    rng = np.random.default_rng(seed)
    factor = np.linalg.cholesky(np.cov(rng.standard_normal((D, 3 * D)) * np.geomspace(0.1, 3, D)[:, None]))
    return rng, rng.standard_normal(D), factor


def score(mean, factor, x):
    return -np.linalg.solve(factor @ factor.T, (x - mean).T).T


def error(factor, true):
    return np.abs(np.linalg.solve(true, factor) @ np.linalg.solve(true, factor).T - np.eye(D)).max()


def test_a_gaussian_is_found_from_draws_on_one_side_of_it():
    rng, mean, factor = gaussian()
    x = mean + rng.standard_normal((400, D)) @ factor.T
    x = x[(x - mean) @ np.linalg.inv(factor)[0] > 0.5]
    found, L = fitted_to_gradients(
        x, score(mean, factor, x), np.ones(len(x)), mean + factor @ np.full(D, 2.0), 3 * factor, 1e-6
    )
    assert np.abs(np.linalg.solve(factor, found - mean)).max() < 1e-3 and error(L, factor) < 1e-3
    # control: the draws' own covariance is not that
    assert error(np.linalg.cholesky(np.cov(x.T)), factor) > 0.3


def test_the_earlier_gaussian_counts_as_so_many_draws():
    rng, mean, factor = gaussian(1)
    x = mean + rng.standard_normal((2000, D)) @ factor.T
    g = score(mean, factor, x)
    L = [fitted_to_gradients(x, g, np.ones(len(x)), mean, 2 * factor, n)[1] for n in (0.0, 8000.0, 1e9)]
    # in units of the earlier one the draws' variance is 1/4 and their gradients' 4
    ratio = [np.linalg.solve(factor, one) for one in L]
    widths = [float(np.mean(np.diag(r @ r.T))) for r in ratio]
    assert widths == pytest.approx([1.0, 4 * np.sqrt(8500 / 16000), 4.0], rel=0.03)


def test_what_is_not_finite_or_weighs_nothing_is_left_out():
    rng, mean, factor = gaussian(2)
    x = mean + rng.standard_normal((200, D)) @ factor.T
    g, weight = score(mean, factor, x), np.ones(200)
    g[:3], weight[3:6] = np.nan, 0.0
    g[3:6] = 1e6
    _, L = fitted_to_gradients(x, g, weight, mean, factor, 1.0)
    assert error(L, factor) < 1e-6
    _, same = fitted_to_gradients(x, g, np.zeros(200), mean, factor, 1.0)
    assert same is factor


def test_between_two_wells_the_reference_is_narrower_than_the_draws_and_wider_than_a_well():
    rng = np.random.default_rng(3)
    side = rng.integers(0, 2, 4000) * 4.0 - 2.0
    x = np.stack([side + rng.standard_normal(4000), rng.standard_normal(4000)], 1)
    # of (N(-2, 1) + N(2, 1))/2 the score is -x + 2 tanh(2 x)
    g = np.stack([-x[:, 0] + 2 * np.tanh(2 * x[:, 0]), -x[:, 1]], 1)
    _, L = fitted_to_gradients(x, g, np.ones(4000), np.zeros(2), np.eye(2), 1e-6)
    variance = np.diag(L @ L.T)
    assert variance[1] == pytest.approx(1.0, abs=0.02)
    assert 1.5 < variance[0] < 4 and np.var(x[:, 0]) > 4.8
