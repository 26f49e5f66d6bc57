"""Do the chains agree? Rank-normalised split r_hat and bulk effective sample size (Vehtari et al. 2021)."""

from collections.abc import Mapping

import numpy as np
from arviz_stats.base.array import array_stats

R_HAT_LIMIT = 1.05


def r_hat(draws: np.ndarray) -> float:
    """The greater of rank-normalised split and folded-split r_hat of draws (chain, draw); NaN for fewer than 4 draws.

    One where every draw is the same (a fixed parameter).
    """
    return _statistic(array_stats.rhat, draws, 1.0)


def ess(draws: np.ndarray) -> float:
    """Bulk effective sample size of draws (chain, draw); NaN for fewer than 4; their number if all are equal."""
    return _statistic(array_stats.ess, draws, float(np.size(draws)))


def _statistic(function, draws: np.ndarray, constant: float) -> float:
    draws = np.asarray(draws, np.float64)
    if draws.shape[1] < 4 or not np.isfinite(draws).all():
        return float("nan")
    if len(draws) == 1:  # the halves of a single chain
        draws = draws[:, : draws.size // 2 * 2].reshape(2, -1)
    if np.ptp(draws) == 0:
        return constant
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that never moved have r_hat infinity
        return float(function(draws, chain_axis=0, draw_axis=1))


def convergence_warnings(draws: Mapping[str, np.ndarray]) -> list[str]:
    """Plain sentences on the worst r_hat of named draws (chain, draw); an empty list when all are below 1.05."""
    chains, length = next(iter(draws.values())).shape
    if length < 4:
        return [f"only {length} draws per chain: whether the chains agree cannot be said; ask for more draws"]
    values = {name: r_hat(d) for name, d in draws.items()}
    bad = sorted((name for name, r in values.items() if not r < R_HAT_LIMIT), key=lambda name: -values[name])
    if not bad:
        return []
    words = ", ".join(f"{name} {values[name]:.2f}" for name in bad[:4]) + (", ..." if len(bad) > 4 else "")
    who = f"the {chains} chains do not agree" if chains > 1 else "the chain has not settled"
    return [f"{who} (r_hat above {R_HAT_LIMIT}: {words}): widths may be wrong; run longer"]
