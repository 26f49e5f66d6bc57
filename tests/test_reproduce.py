"""The paper's experiment: refusals, the page, and (slow) all of it with a small prior and few steps, twice."""

import numpy as np
import pytest

from blindlens import reproduce
from blindlens.config import RunConfig
from blindlens.errors import BlindlensError
from blindlens.posterior import Posterior
from blindlens.progress import Progress

TINY = {
    "chains": 1,
    "draws": 1,
    "initialise": {
        "method": "sersic-adam",
        "polish_steps": 2,
        "keep": 2,
        "most_rank": 16,
        "rank": 8,
        "sersic": {"starts": 8, "steps": 20, "rays": 1},
    },
    "gibbsddrm": {
        "guidance": {"method": "pigdm", "variance": "cla", "cg_steps": 30},
        "steps": 40,
        "walk": 2,
        "redraw": {"guidance": {"method": "cla", "variance": "cla", "cg_steps": 30}, "steps": 40},
        "refine": {"precondition": True, "step": 0.1, "warmup": 100, "marginal": 20, "depth": 4},
    },
}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"method": "joint"}, "needs method gibbsddrm"),
        ({"trim": True}, "trim: false"),
        ({"bin": 2}, "bin: 1"),
        ({"gibbsddrm": {"end": False}}, r"shows p\(l \| y\)"),
        ({"gibbsddrm": {"refine": {"marginal": 2}}}, "10 or more"),
        ({"gibbsddrm": {"covariance": "network", "refine": {"marginal": 20}}}, "covariance: none"),
    ],
)
def test_what_is_not_the_experiment_is_refused(tmp_path, changes, words):
    with pytest.raises(BlindlensError, match=words):
        reproduce.reproduce(tmp_path, RunConfig.load("reproduce").replace(**changes), Progress())


def test_the_page_has_a_line_a_system():
    line = {
        "system": "system0000",
        "chi2 of the truth": 1.01,
        "chi2 of the draws": [0.99, 1.234],
        "z": {"Rein": 0.5, "t": -2.5},
        "refused": 0.25,
        "seconds": {"sample": 90.0, "collect": 30.0},
        "peak": 40.4,
        "residual": 0.0123,
    }
    text = reproduce.page(RunConfig.load("reproduce"), [line])
    assert "| system0000 | 40 | 1.010 | 0.990, 1.234 | +0.5 | -2.5 (t) | 0.25 | 0.012 | 2.0 |" in text
    assert "![corner0.png](corner0.png)" in text and "gibbsddrm" in text
    assert len({row.count("|") for row in text.splitlines() if row.startswith("|")}) == 1


@pytest.mark.slow
def test_the_whole_experiment_small_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "SYSTEMS", 2)
    monkeypatch.setattr(reproduce, "CONDITIONALS", 2)
    config = RunConfig.load("reproduce").replace(prior="galaxy-gaussian", **TINY)
    lines = reproduce.reproduce(tmp_path, config, Progress())
    assert [line["system"] for line in lines] == ["system0000", "system0001"]
    assert [len(line["chi2 of the draws"]) for line in lines] == [2, 1]
    assert all(0.9 < line["chi2 of the truth"] < 1.1 for line in lines)
    # residuals made anew, of the operator and of sources in data units, are those that the sampler saw
    for line in lines:
        stats = Posterior.load(tmp_path / line["system"] / "posterior.nc").tree["sample_stats"]
        np.testing.assert_allclose(line["chi2 of the draws"], stats["chi2_per_pixel"].values.ravel(), rtol=1e-3)
    assert all(np.isfinite(list(line["z"].values())).all() for line in lines)
    pictures = ["system0", "system1", "corner0", "corner1", "marginal", "tweedie", "evolution"]
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in pictures)

    # the second time nothing is sampled; another seed is another experiment
    def refused(*arguments, **options):
        raise AssertionError("sampled again")

    monkeypatch.setattr(reproduce, "infer", refused)
    assert reproduce.reproduce(tmp_path, config, Progress()) == lines
    with pytest.raises(AssertionError, match="sampled again"):
        reproduce.reproduce(tmp_path, config.replace(seed=1), Progress())
