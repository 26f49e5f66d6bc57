"""Each way a result can be bad has its state."""

import numpy as np
import pytest
from conftest import make_posterior

from blindlens.check.verdict import judged


def test_a_good_posterior_is_usable(posterior):
    summary = judged(posterior)
    assert summary["verdict"]["state"] == "usable" and summary["warnings"] == []
    assert {k: v for k, v in summary.items() if k != "verdict"} == posterior.summary()


@pytest.mark.parametrize(("excess", "state"), [(0.0, "usable"), (0.25, "look at this"), (0.65, "do not use")])
def test_chi2(excess, state):
    posterior = make_posterior()
    extra = np.sqrt(excess) * np.random.default_rng(3).normal(size=(80, 80))
    posterior.tree["model"]["image"].values[...] += extra * posterior.image("noise")
    found = judged(posterior)
    assert found["chi2_per_pixel_of_mean_model"] == pytest.approx(1 + excess, abs=0.05)
    assert found["verdict"]["state"] == state
    posterior.tree["model"]["image"].values[0, 0] = np.nan
    assert judged(posterior)["verdict"]["state"] == "do not use"


def test_chains_apart_and_too_few_draws():
    apart = judged(make_posterior(draws=50, spread=3.0))["verdict"]
    assert apart["state"] == "do not use" and "r_hat" in apart["words"]
    assert judged(make_posterior(draws=50, spread=0.4))["verdict"]["state"] == "look at this"
    assert judged(make_posterior(draws=3))["verdict"]["state"] == "do not use"


def test_a_range_that_is_hit_is_a_warning():
    posterior = make_posterior()
    posterior.lens["t"].values[...] = 1.2 - np.abs(posterior.lens["t"].values - 1.05)
    found = judged(posterior)
    assert found["verdict"]["state"] == "look at this"
    assert len(found["warnings"]) == 1 and "t piles up at the upper end" in found["warnings"][0]


def test_the_frame_of_the_sources_pixels_does_not_decide_but_the_source_does():
    def apart(what):
        posterior = make_posterior()
        draws, pixel = posterior.tree["posterior"], 2.4 / 48
        for c, chain in enumerate(draws["source"].values):
            chain[chain < 0.3] = 0  # a dark sky: noise on it pulls the centroid to the middle of the frame
            if what == "frame":
                draws["xs"].values[c] += c * pixel
                chain[...] = np.roll(chain, -c, 2)
            elif what == "place":
                draws["xs"].values[c] += c * pixel
            else:
                chain *= 1 + 0.1 * c
        return judged(posterior)

    frame = apart("frame")
    assert frame["parameters"]["xs"]["r_hat"] > 2 and frame["verdict"]["state"] == "usable" and not frame["warnings"]
    for what, name in (("place", "source's x"), ("flux", "source's flux")):
        found = apart(what)["verdict"]
        assert found["state"] == "do not use" and name in found["words"]
