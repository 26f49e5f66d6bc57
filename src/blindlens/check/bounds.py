"""Does a prior range cut the posterior off? Plain sentences where it does."""

import numpy as np

from ..posterior import Posterior

EDGE, SHARE = 0.01, 0.1
"""What counts as the end of a range, as a part of the prior; the share of draws there that is worth a word."""


def shares_at_ends(posterior: Posterior) -> dict[str, tuple[float, float]]:
    """{name: (low, high)}: shares of the draws within the lowest and the highest 1 % of the prior.

    Parameters without draws that differ (fixed ones) and angles, which have no ends, are left out. An end that is no
    choice (q = 1, a_m = 0) counts as zero: draws that gather there say that the lens is round, or has no multipole.
    """
    shares = {}
    for name, prior in posterior.attrs.get("priors", {}).items():
        if name not in posterior.lens or prior["kind"] == "angle":
            continue
        draws = posterior.lens[name].values.ravel()
        if np.ptp(draws) == 0:
            continue
        low, high = prior["low"], prior["high"]
        if prior["kind"] == "log-uniform":
            draws, low, high = np.log(draws), np.log(low), np.log(high)
        u = (draws - low) / (high - low)
        if prior["kind"] == "disc":
            u = u**2 if prior["natural"] == "low" else 1 - (1 - u) ** 2
        at = {"low": float(np.mean(u < EDGE)), "high": float(np.mean(u > 1 - EDGE))}
        shares[name] = tuple(0.0 if prior["natural"] == end else share for end, share in at.items())
    return shares


def bounds_warnings(posterior: Posterior) -> list[str]:
    """A sentence a parameter of which more than 10 % of the draws lie within 1 % of an end of its prior range."""
    words, priors = [], posterior.attrs.get("priors", {})
    for name, shares in shares_at_ends(posterior).items():
        for end, share in zip(("lower", "upper"), shares, strict=True):
            if share > SHARE:
                low, high = priors[name]["low"], priors[name]["high"]
                words.append(
                    f"{name} piles up at the {end} end of its prior range, {low:.4g} to {high:.4g}: {100 * share:.0f} %"
                    " of the draws lie within 1 % of it; the range sets the answer and its error: widen it, or find"
                    " what else the model lacks"
                )
    return words
