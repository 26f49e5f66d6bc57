"""Are posteriors calibrated? Ranks, TARP and Mira: where truths lie among draws, over many systems.

All rest on one thing: given the data, the truth and independent draws of the right posterior are exchangeable. Each
system gives a few numbers (`place`), so that no more than one system's draws are ever in memory. A posterior that is
right passes; one that passes may still be too wide for its data (the prior passes): look at widths and residuals too.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from numpy.random import Generator

LEVELS = np.linspace(0, 1, 101)
SETS = 2000  # of uniform numbers, by which the band is known
SHRINK = 0.1  # of the correlations by which distances are whitened: few draws must do


class Place(NamedTuple):
    """Where one truth lies: uniform ranks (d,), TARP's share of draws nearer to a random point, Mira's statistic.

    draws: how many it was ranked among.
    """

    ranks: np.ndarray
    tarp: float
    mira: float
    draws: int


class Judgement(NamedTuple):
    """p: of the numbers being uniform; curve: their expected coverage at `levels`; band: half its 95 % band's width."""

    p: float
    levels: np.ndarray
    curve: np.ndarray
    band: float

    @property
    def inside(self) -> bool:
        """Does the diagonal lie within the band at every level?"""
        return bool((np.abs(self.curve - self.levels) <= self.band).all())


def place(truth: np.ndarray, aside: np.ndarray, draws: np.ndarray, rng: Generator) -> Place:
    """Rank the truth (d,) among draws (S, d), which are independent of each other and of `aside` (R, d).

    The draws set aside only choose where to look: they whiten distances, and scatter the random point as they scatter
    (a point that knows the data sees more, Lemos et al. 2023, arXiv:2302.03026). Mira (arXiv:2605.02014): with n of the
    other N = S - 1 draws nearer to the point than a random one of the draws, (n + 1) / (N + 2) if the truth is nearer
    as well, else (N - n + 1) / (N + 2); divided by its maximum (N + 1) / (N + 2).
    """
    ranks = np.array([_rank(t, column, rng) for t, column in zip(truth, draws.T, strict=True)])
    mean, factor = aside.mean(0), _factor(aside)
    centre = rng.normal(size=len(truth))
    far = np.linalg.norm(np.linalg.solve(factor, (np.vstack([truth, draws]) - mean).T) - centre[:, None], axis=0)
    order = np.argsort(np.lexsort((rng.random(far.size), far)))  # the position of each, ties at random
    others = len(draws) - 1
    chosen = 1 + rng.integers(len(draws))
    inside = order[0] < order[chosen]
    nearer = order[chosen] - inside
    mira = (nearer if inside else others - nearer) + 1
    return Place(ranks, (order[0] + rng.random()) / (len(draws) + 1), mira / (others + 1), len(draws))


def _rank(value: float, draws: np.ndarray, rng: Generator) -> float:
    """The share of draws below a value, uniform on (0, 1) if it is one of them; ties at random."""
    below, ties = np.sum(draws < value), np.sum(draws == value)
    return (below + rng.integers(ties + 1) + rng.random()) / (len(draws) + 1)


def _factor(draws: np.ndarray) -> np.ndarray:
    """Cholesky factor (d, d) of the covariance of draws (R, d), its correlations shrunk; 1 where nothing scatters."""
    sd = draws.std(0)
    sd = np.where(sd > 0, sd, 1.0)
    z = (draws - draws.mean(0)) / sd
    correlation = (1 - SHRINK) * z.T @ z / len(draws)
    np.fill_diagonal(correlation, 1.0)
    return sd[:, None] * np.linalg.cholesky(correlation)


def smooth_p(u: np.ndarray, order: int = 4) -> float:
    """p that u (K,) is uniform on (0, 1), by Neyman's smooth test: chi2 of the first Legendre polynomials' means.

    Bias shows in the first, wrong widths in the second. For K of 50 or more.
    """
    degrees = np.arange(1, order + 1)[:, None]
    means = (np.sqrt(2 * degrees + 1) * scipy.special.eval_sh_legendre(degrees, u)).sum(1) / np.sqrt(len(u))
    return float(scipy.stats.chi2.sf(np.sum(means**2), order))


def judge(u: np.ndarray) -> Judgement:
    """Numbers (K,) that are uniform for right posteriors: expected coverage, with a simultaneous band."""
    return Judgement(smooth_p(u), LEVELS, _curve(u), band(len(u)))


def _curve(u: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(u), LEVELS, side="right") / len(u)


@functools.cache
def band(count: int) -> float:
    """Half the width of the band in which 95 % of sets of `count` uniform numbers lie at all levels at once.

    By simulation: resampling the systems themselves gives a band too narrow for few of them.
    """
    sets = np.random.default_rng(0).random((SETS, count))
    return float(np.quantile([np.abs(_curve(u) - LEVELS).max() for u in sets], 0.95))


def central(u: np.ndarray, level: float) -> float:
    """The share of ranks within the central interval of a level: `level` expected."""
    return float(np.mean(np.abs(u - 0.5) < level / 2))


def mira(statistics: np.ndarray, draws: np.ndarray) -> tuple[float, float, float]:
    """(score, expected, standard error if it is as expected) of Mira's statistics (K,), each among `draws` (K,)."""
    moments = np.array([_mira_moments(int(s) - 1) for s in draws])
    variance = moments[:, 1] - moments[:, 0] ** 2
    return float(np.mean(statistics)), float(moments[:, 0].mean()), float(np.sqrt(variance.sum()) / len(draws))


def _mira_moments(others: int) -> tuple[float, float]:
    """First and second moment of Mira's statistic for the right posterior: n is uniform on 0 ... N."""
    inside = np.arange(1, others + 2) / (others + 2)
    values, most = np.stack([inside, 1 - inside]), (others + 1) / (others + 2)
    return tuple(float(np.mean((values * (values / most) ** power).sum(0))) for power in (1, 2))  # type: ignore
