"""Draws that gather at an end of their prior range are named; those that only reach it, or may gather, are not."""

import json

import numpy as np
import pytest
from conftest import make_posterior

from blindlens.check.bounds import bounds_warnings, shares_at_ends


def changed(name: str, draws: np.ndarray, **prior):
    """A posterior with other draws of a parameter, and another prior."""
    posterior = make_posterior(draws=len(draws) // 4)
    posterior.lens[name].values[...] = draws.reshape(4, -1)
    priors = posterior.attrs["priors"]
    priors[name] |= prior
    posterior.tree.attrs["priors"] = json.dumps(priors)
    return posterior


def test_inside_its_ranges_nothing_is_said(posterior):
    assert bounds_warnings(posterior) == []
    shares = shares_at_ends(posterior)
    assert set(shares) == set(posterior.lens) - {"phi", "phi_3"} and set(shares.values()) == {(0.0, 0.0)}
    assert "t" not in shares_at_ends(make_posterior(draws=4, fixed=("t",)))


def test_a_posterior_as_wide_as_its_prior_has_a_hundredth_at_each_end():
    u = (np.arange(400) + 0.5) / 400
    edges = {"low": 0.8, "high": 1.2}
    disc = 0.8 + 0.4 * np.sqrt(u)
    for draws, prior in (
        (0.8 + 0.4 * u, {}),
        (0.8 * 1.5**u, {"kind": "log-uniform", **edges}),
        (disc, {"kind": "disc", "natural": "low", **edges}),
        (2 - disc, {"kind": "disc", "natural": "high", **edges}),
    ):
        posterior = changed("t", draws, **prior)
        natural = prior.get("natural")
        assert shares_at_ends(posterior)["t"] == pytest.approx((0.01 * (natural != "low"), 0.01 * (natural != "high")))
        assert bounds_warnings(posterior) == []


@pytest.mark.parametrize(("end", "mirror"), [("upper", 1.0), ("lower", -1.0)])
def test_a_pile_is_named_with_its_range(end, mirror):
    piled = 1.0 + mirror * (0.2 - np.random.default_rng(1).exponential(0.004, 400))
    (words,) = bounds_warnings(changed("t", piled))
    share = np.mean(np.abs(piled - 1) > 0.196)
    assert 0.5 < share < 0.75 and f"{100 * share:.0f} %" in words
    assert words.startswith(f"t piles up at the {end} end of its prior range, 0.8 to 1.2")
    # control: the same draws a twentieth of the range away from the end
    assert bounds_warnings(changed("t", piled - 0.02 * mirror)) == []


def test_round_lenses_and_missing_multipoles_hit_no_range():
    rng = np.random.default_rng(2)
    assert bounds_warnings(changed("q", 1 - rng.exponential(0.002, 400))) == []
    assert bounds_warnings(changed("a_3", rng.exponential(1e-4, 400))) == []
    assert len(bounds_warnings(changed("q", 0.6 + rng.exponential(0.002, 400)))) == 1
    assert len(bounds_warnings(changed("a_3", 0.02 - rng.exponential(1e-4, 400)))) == 1


def test_a_posterior_without_priors_says_nothing():
    posterior = make_posterior(draws=4)
    del posterior.tree.attrs["priors"]
    assert shares_at_ends(posterior) == {} and bounds_warnings(posterior) == []
