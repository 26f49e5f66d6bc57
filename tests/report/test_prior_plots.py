"""Pictures of a prior's check show both sets, on one scale, with their errors."""

import matplotlib.text
import numpy as np
import pytest
from matplotlib import pyplot

from blindlens.check.appearance import brightness_shares, power_ratio
from blindlens.errors import BlindlensError
from blindlens.report.prior_plots import appearance_figure, contact_sheet, denoising_figure
from blindlens.report.prior_words import denoising_words, prior_words


def galaxies(seed: int, k: int, n: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    r2 = np.sum(((np.mgrid[:n, :n] - (n - 1) / 2) / n) ** 2, 0)
    return np.exp(-r2 / rng.uniform(0.01, 0.05, (k, 1, 1))) + 0.01 * rng.normal(size=(k, n, n))


def test_contact_sheet_has_both_sets_on_one_scale():
    real, samples = galaxies(0, 12), 2 * galaxies(1, 5)
    figure = contact_sheet(samples, real, 10.0, 0.5, rows=3, columns=4)
    left, right = (axes.images[0] for axes in figure.axes if axes.images)
    assert left.norm is right.norm and left.origin == "lower"
    sheet = np.ma.filled(left.get_array(), np.nan)
    assert sheet.shape == (3 * 17 - 1, 4 * 17 - 1)
    np.testing.assert_allclose(sheet[-16:, :16], 10 * real[0] + 0.5)  # the first is at the top left
    np.testing.assert_allclose(sheet[17:33, 17:33], 10 * real[5] + 0.5)
    few = np.ma.filled(right.get_array(), np.nan)
    np.testing.assert_allclose(few[17:33, :16], 10 * samples[4] + 0.5)
    assert np.isnan(few[:16]).all()
    with pytest.raises(BlindlensError, match="real"):
        contact_sheet(samples, real[:, :8, :8])


def test_appearance_and_denoising(tmp_path):
    a, b = galaxies(0, 60), galaxies(1, 60)
    result = {"prior": "test prior", "power": power_ratio(a, b), "brightness": brightness_shares(1.2 * a, b)}
    figure = appearance_figure(result)
    words = "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))
    assert "test prior" in words and f"{100 * result['brightness']['distance']:.1f} %" in words
    lines = figure.axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), result["power"]["held_out"])
    figure.savefig(tmp_path / "appearance.png")

    row = {"error": 2e-3, "error_se": 1e-4, "claim": 1e-3, "claim_se": 1e-5, "ratio": 2.0, "ratio_se": 0.1}
    table = {name: [{"sigma": s, **row} for s in (0.01, 0.1)] for name in ("one", "two")}
    figure = denoising_figure(table)
    assert {t.get_text() for t in figure.findobj(matplotlib.text.Text)} >= {"one", "two", "error / claim"}
    figure.savefig(tmp_path / "denoising.png")
    assert all(path.stat().st_size > 10_000 for path in tmp_path.iterdir()) and pyplot.get_fignums() == []


def test_words_are_whole_tables():
    mass = {"chi2": 104.4, "sd": 13.2, "null_mean": 99.0, "null_sd": None, "p": 0.3, "p_alike": 0.7, "x": 9, "y": 9}
    row = {"error": 2e-3, "error_se": 1e-4, "claim": 1e-3, "claim_se": 1e-5, "ratio": 2.0, "ratio_se": 0.1}
    built = {"samples": [1.0, 2.0, 3.0], "held_out": None, "ratio": None, "ratio_se": None}
    result = {
        "prior": "test prior",
        "images": {"n": 16, "samples": 100, "held_out": 200, "training": 300},
        "pqmass": {"held_out": mass, "real": mass},
        "power": {"wavenumber": [1, 2, 3], "ratio": [1.0, 0.9, 0.77], "ratio_se": [0.1, 0.1, 0.1]},
        "brightness": {"distance": 0.051},
        "structure": {"unusable": {"samples": 7, "held_out": 0}, "r50": built},
        "memorisation": {"close": 0.02, "close_ratio": 0.01, "expected": 0.01, "se": 0.004},
        "denoising": {name: [{"sigma": s, **row} for s in (0.01, 0.1)] for name in ("one", "two")},
    }
    words = prior_words(result)
    assert "| draws and held-out, 9 and 9 | 104.4 ± 13.2 | – | 0.300 | 0.700 |" in words and "0.77" not in words
    assert "| r50 | 1 / 2 / 3 | – | – |" in words and "7 draws" in words and "5.1 %" in words and "2.0 %" in words
    lines = denoising_words(result["denoising"]).splitlines()
    assert len(lines) == 4 and {line.count("|") for line in lines} == {6}
    assert lines[3] == "| 0.1 | 0.2 ± 0.01 | 2.000 ± 0.100 | 0.2 ± 0.01 | 2.000 ± 0.100 |"
