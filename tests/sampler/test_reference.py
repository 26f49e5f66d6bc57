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
    # in units of the earlier one, variances 1/4: C = 500 of these draws and 8000 of its own, B = 2000 and 8000
    ratio = [np.linalg.solve(factor, one) for one in L]
    widths = [float(np.mean(np.diag(r @ r.T))) for r in ratio]
    assert widths == pytest.approx([1.0, 4 * 8500 / 10000, 4.0], rel=0.02)


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


def test_directions_that_curve_upwards_stay_as_wide_as_allowed():
    rng, mean, factor = gaussian(3)
    x = mean + rng.standard_normal((300, D)) @ factor.T
    _, L = fitted_to_gradients(x, -score(mean, factor, x), np.ones(300), mean, factor, 1e-6, least=0.1)
    assert np.linalg.eigvalsh(np.linalg.solve(factor, L) @ np.linalg.solve(factor, L).T) == pytest.approx(
        np.full(D, 10.0)
    )
