"""PQMass: the right chi2 for sets of one distribution, and none of the sets that differ or repeat each other."""

import numpy as np
import pytest
import scipy.stats

from blindlens.check.pqmass import _chi2, one_each, pqmass, squared_distances
from blindlens.errors import BlindlensError


def white(seed: int, k: int, n: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(k, n, n))


SIZE = {"regions": 20, "tessellations": 30, "permutations": 40}


def test_chi2_is_scipys():
    rng = np.random.default_rng(0)
    cell, references = rng.integers(7, size=300), rng.choice(300, 7, replace=False)
    labels = (rng.random((300, 2)) < 0.4).astype(np.float32)
    chi2, empty = _chi2(cell, references, labels, 7)
    kept = np.delete(np.arange(300), references)
    for column in range(2):
        table = np.zeros((2, 7))
        np.add.at(table, (labels[kept, column].astype(int), cell[kept]), 1)
        assert chi2[column] == pytest.approx(scipy.stats.chi2_contingency(table, correction=False).statistic)
    assert empty == 0
    cell[cell == 3] = 4  # an empty cell: chi2 of 5 degrees of freedom, brought to 6
    less = np.delete(table, 3, 1)
    less[:, 3] += table[:, 3]
    p = scipy.stats.chi2_contingency(less, correction=False).pvalue
    expected = scipy.stats.chi2.isf(p, 6)
    chi2, empty = _chi2(cell, references, labels, 7)
    assert chi2[1] == pytest.approx(expected, rel=0.01) and empty == 1


def test_distances():
    points = white(1, 40).reshape(40, -1) + 1000
    direct = np.sum((points[:, None] - points) ** 2, -1)
    np.testing.assert_allclose(squared_distances(points), direct, atol=0.02)  # float32 of a thousand: 6e-5


def test_sets_of_one_distribution():
    """Over 60 pairs of sets: mean chi2 = dof N / (N - 1) within 4 errors, p uniform, the null's sd the actual one."""
    results = [pqmass(white(2 * s, 150), white(2 * s + 1, 250), s, **SIZE) for s in range(60)]
    chi2 = np.array([r["chi2"] for r in results])
    assert abs(chi2.mean() - 19 * 380 / 379) < 4 * chi2.std() / np.sqrt(60)
    assert chi2.std() < 3  # independent sets of one tessellation have 6.2
    assert np.mean([r["null_sd"] for r in results]) == pytest.approx(chi2.std(), rel=0.35)
    assert np.mean([r["sd"] for r in results]) == pytest.approx(np.sqrt(2 * 19), rel=0.15)
    assert scipy.stats.kstest([r["p"] for r in results], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("change", ["shift", "scale", "mixture"])
def test_other_distributions_are_rejected(change):
    x, y = white(1, 300), white(2, 300)
    if change == "shift":
        y += 0.15
    elif change == "scale":
        y *= 1.25
    else:
        y[:90] *= 0.3
    result = pqmass(x, y, 0, **SIZE)
    assert result["p"] == pytest.approx(1 / 41) and result["chi2"] > result["null_mean"] + 5 * result["null_sd"]


def test_a_set_that_repeats_the_other_is_too_alike():
    x = white(1, 300)
    result = pqmass(x, x + 0.01 * white(2, 300), 0, **SIZE)
    assert result["p_alike"] == pytest.approx(1 / 41) and result["chi2"] < 0.5 * result["dof"]


def test_galaxies_that_occur_several_times():
    """Repeating galaxies raises chi2, though the distribution is the same; with one image of each it does not."""
    x = white(1, 500)
    x[:125] += 1.5
    seven_times = np.repeat(1.5 + white(2, 60), 7, 0) + 0.1 * white(4, 420)
    y = np.concatenate([seven_times, white(5, 1260)])
    names = np.concatenate([np.repeat(np.arange(60), 7), 100 + np.arange(1260)])
    kept = one_each(names, np.random.default_rng(0))
    assert len(np.unique(names[kept])) == len(kept)
    assert (kept < 420).sum() == 60 and abs((kept >= 420).sum() - 180) < 4 * np.sqrt(180 * 6 / 7)
    size = SIZE | {"regions": 60}
    once, repeated = pqmass(x, y[kept], 0, **size), pqmass(x, y, 0, **size)
    assert once["p"] > 0.02 and repeated["p"] == pytest.approx(1 / 41)
    np.testing.assert_array_equal(one_each(np.arange(9), np.random.default_rng(0)), np.arange(9))


def test_sizes_and_what_is_refused():
    calls = []
    result = pqmass(white(1, 50), white(2, 30), 3, 10, 5, 0, advance=lambda: calls.append(1))
    assert (result["x"], result["y"], result["dof"], len(calls)) == (50, 30, 9, 5) and np.isnan(result["null_sd"])
    assert result == pytest.approx(pqmass(white(1, 50), white(2, 30), 3, 10, 5, 0), nan_ok=True)
    for x, y, regions in ((white(1, 10), white(2, 9), 10), (white(1, 30), white(2, 30, 6), 5), (1.0, white(1, 9), 2)):
        with pytest.raises(BlindlensError):
            pqmass(x, y, 0, regions, 5)
    broken = white(1, 30)
    broken[3, 2, 1] = np.nan
    with pytest.raises(BlindlensError, match="x: 1 of 30"):
        pqmass(broken, white(2, 30), 0, 5, 5)
    with pytest.raises(BlindlensError, match="all the same"):
        pqmass(np.ones((30, 8, 8)), np.ones((30, 8, 8)), 0, 5, 5)
