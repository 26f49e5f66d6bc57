"""Ranks, TARP and Mira on Gaussian posteriors that are right, and on ones that are wrong in a known way."""

import numpy as np
import pytest

from blindlens.check.coverage import central, judge, mira, place, smooth_p

D = 6


def study(systems=150, draws=48, width=1.0, bias=0.0, seed=0):
    """Places of truths in the posteriors N(m, A A^T) of random m and A, widened and moved by `bias` sd."""
    rng, places = np.random.default_rng(seed), []
    for _ in range(systems):
        m, factor = 3 * rng.normal(size=D), rng.normal(size=(D, D))

        def posterior(count, m=m, factor=factor):
            return m + (bias + width * rng.normal(size=(count, D))) @ factor.T

        places.append(place(m + factor @ rng.normal(size=D), posterior(draws), posterior(draws), rng))
    return places


def least_rank_p(places):
    return min(smooth_p(u) for u in np.array([p.ranks for p in places]).T)


def tarp(places):
    return judge(np.array([p.tarp for p in places]))


def test_right_posteriors_pass_as_often_as_they_should():
    studies = [study(60, 24, seed=seed) for seed in range(60)]
    # of 60, 57 are expected inside a 95 % band, with an sd of 1.7
    assert 52 <= sum(tarp(places).inside for places in studies)
    rng = np.random.default_rng(7)
    for systems in (10, 100):
        assert abs(np.mean([judge(rng.random(systems)).inside for _ in range(200)]) - 0.95) < 0.05
    p = np.array([tarp(places).p for places in studies] + [least_rank_p(places) for places in studies])
    assert np.mean(p < 0.001) <= 0.02
    assert 0.35 < np.mean([tarp(places).p for places in studies]) < 0.65
    z = [(m[0] - m[1]) / m[2] for m in (mira(*np.array([(p.mira, p.draws) for p in s]).T) for s in studies)]
    assert abs(np.mean(z)) < 0.45 and 0.7 < np.std(z) < 1.3


@pytest.mark.parametrize("width, bias", [(0.65, 0), (1.5, 0), (1, 1)])
def test_wrong_posteriors_do_not(width, bias):
    places = study(width=width, bias=bias)
    assert not tarp(places).inside and tarp(places).p < 1e-6
    if bias == 0:
        assert least_rank_p(places) < 0.01 / D
        # too wide lies above the diagonal, too narrow below
        middle = tarp(places).curve[50]
        assert middle > 0.6 if width > 1 else middle < 0.4
    score, expected, error = mira(*np.array([(p.mira, p.draws) for p in places]).T)
    assert score < expected + error and (width != 0.65 or score < expected - 3 * error)


def test_moments_of_mira_are_those_of_exchangeable_numbers():
    rng = np.random.default_rng(3)
    for draws in (2, 9):
        values = [
            place(x[:1], rng.normal(size=(5, 1)), x[1:, None], rng).mira for x in rng.normal(size=(8000, draws + 1))
        ]
        score, expected, error = mira(np.array(values), np.full(len(values), draws))
        assert abs(score - expected) < 4 * error
        assert np.std(values) / np.sqrt(len(values)) == pytest.approx(error, rel=0.05)
    assert mira(np.ones(1), np.array([100_000]))[1] == pytest.approx(2 / 3, abs=1e-4)


def test_draws_that_are_all_alike_rank_at_random():
    rng = np.random.default_rng(4)
    alike = np.zeros((10, 2))
    places = [place(np.zeros(2), alike, alike, rng) for _ in range(400)]
    assert smooth_p(np.array([p.ranks[0] for p in places])) > 1e-3
    assert smooth_p(np.array([p.tarp for p in places])) > 1e-3


def test_the_smooth_test_sees_bias_and_width_and_nothing_else():
    rng = np.random.default_rng(5)
    even = np.array([smooth_p(rng.random(40)) for _ in range(2000)])
    assert abs(np.mean(even < 0.05) - 0.05) < 0.02
    assert smooth_p(rng.beta(1, 1.5, 200)) < 1e-3 and smooth_p(rng.beta(0.6, 0.6, 200)) < 1e-3


def test_central_shares():
    u = (np.arange(100) + 0.5) / 100
    assert central(u, 0.68) == pytest.approx(0.68) and central(u, 0.95) == pytest.approx(0.95, abs=0.011)
    assert central(np.array([0.01, 0.99]), 0.9) == 0
