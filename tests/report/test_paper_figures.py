"""The paper's figures hold what they are said to hold."""

import matplotlib.colors
import numpy as np
from conftest import TRUTH, make_posterior

from blindlens.report.paper_figures import (
    Seen,
    evolution_figure,
    marginal_corner,
    marginal_figure,
    system_figure,
    tweedie_figure,
)


def seen(sources=6) -> Seen:
    posterior = make_posterior(draws=5, chains=1)
    rng = np.random.default_rng(0)
    posterior.add_marginal({name: value + 0.004 * rng.normal(size=(sources, 40)) for name, value in TRUTH.items()})
    truth = posterior.source.values[0, 0] * 0 + 1.0
    noise, residuals = rng.normal(size=(80, 80)), 1.5 * rng.normal(size=(5, 80, 80))
    return Seen(TRUTH, truth, noise, posterior, residuals)


def images(figure):
    return {axes.get_title(): np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images}


def test_a_system_shows_observation_truth_draws_and_what_is_left(tmp_path):
    one = seen()
    figure = system_figure(one)
    figure.savefig(tmp_path / "system.png")
    shown = images(figure)
    assert np.array_equal(shown["observation"], one.posterior.image("image"))
    assert np.array_equal(shown["true source"], one.source)
    for k in range(3):
        assert np.array_equal(shown[f"draw {k + 1}"], one.posterior.source.values[0, k])
    left = [title for title in shown if title.startswith("residual")]
    assert left and all(2.1 < float(title.split()[-1]) < 2.4 for title in left)
    assert any(title.startswith(f"noise, chi2/pixel {np.mean(one.noise**2):.3f}") for title in shown)


def test_marginal_has_a_colour_a_source_and_the_mixture(tmp_path):
    figure = marginal_figure(seen())
    figure.savefig(tmp_path / "marginal.png")
    assert "6 conditionals" in figure.get_suptitle()
    colours = {line.get_color() for line in figure.axes[2].lines}
    assert {f"C{k}" for k in range(6)} <= colours
    histograms = [matplotlib.colors.to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches]
    assert histograms == [matplotlib.colors.to_hex(colour) for colour in (*(f"C{k}" for k in range(6)), "black")]
    marginal_corner(seen(3)).savefig(tmp_path / "corner.png")


def test_tweedie_means_and_evolution(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10, 8, 8))
    figure = tweedie_figure({"cla": x[0], "pigdm": x[1]}, x[2], 6.0, 0.5)
    figure.savefig(tmp_path / "tweedie.png")
    shown = images(figure)
    assert np.array_equal(shown["cla: E[x | x_t], t = 0.5"], x[0])
    assert np.array_equal(shown["pigdm: E[x | x_t], t = 0.5"], x[1])
    lens = {name: value + 0.01 * np.arange(10) for name, value in TRUTH.items()}
    t = np.linspace(0.9, 0, 10)
    figure = evolution_figure(t, x, x, lens, TRUTH, 6.0)
    figure.savefig(tmp_path / "evolution.png")
    paths = [axes for axes in figure.axes if axes.get_xlabel() == "t"]
    assert len(paths) == 12 and all(axes.get_xlim() == (1, 0) for axes in paths)
    for axes, (name, true) in zip(paths, TRUTH.items(), strict=True):
        path, mark = (line.get_ydata() for line in axes.lines)
        # orientations may be a period away, both alike
        np.testing.assert_allclose(np.asarray(path) - mark[0], lens[name] - true, atol=1e-12)
    assert np.array_equal(images(figure)["x_t, t = 0.00"], x[-1])
