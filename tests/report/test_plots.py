"""The figures show the right things in the right places."""

import numpy as np
import pytest
import xarray as xr
from conftest import TRUTH, blob, make_posterior
from matplotlib import pyplot

from blindlens.report.corner_plot import corner_figure
from blindlens.report.plots import lens_lines, report_figure, sources_in_one_frame
from blindlens.report.words import symbol, value_with_error


def texts(figure) -> str:
    import matplotlib.text

    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def test_critical_lines_and_caustics_lie_where_they_should(posterior):
    critical, caustic = lens_lines(posterior)
    outer = max(critical, key=len)
    radius = np.hypot(outer[:, 0] - TRUTH["x0"], outer[:, 1] - TRUTH["y0"])
    assert radius.mean() == pytest.approx(TRUTH["Rein"], rel=0.03)
    astroid = max(caustic, key=len)
    middle = (astroid.max(0) + astroid.min(0)) / 2
    assert np.hypot(*(middle + [TRUTH["xs"] - TRUTH["x0"], TRUTH["ys"] - TRUTH["y0"]])) < 0.1
    assert np.ptp(astroid, 0).max() < 1.0


def test_report_holds_the_data_in_arcsec(posterior):
    figure = report_figure(posterior)
    shown = {axes.get_title(): axes.images[0] for axes in figure.axes if axes.images}
    data = shown["data, critical lines"]
    assert data.get_extent() == pytest.approx([-3.2, 3.2, -3.2, 3.2]) and data.origin == "lower"
    array = np.ma.filled(data.get_array(), np.nan)
    used = posterior.image("mask") != 0
    np.testing.assert_allclose(array[used], posterior.image("image")[used])
    assert np.isnan(array[~used]).all()
    residual = shown["(data − model) / noise"]
    assert residual.get_clim() == (-4, 4) and np.nanstd(residual.get_array()) == pytest.approx(1, abs=0.05)
    assert shown["source, mean; caustics"].get_extent() == pytest.approx([-1.2, 1.2, -1.2, 1.2])
    words = texts(figure)
    assert "No warnings" in words and "6319 pixels" in words
    (table,) = (t for axes in figure.axes for t in axes.tables)
    row = next(k for k in range(1, 13) if "ein" in table[k, 0].get_text().get_text())
    mean, sd = map(float, table[row, 1].get_text().get_text().split("±"))
    assert mean == pytest.approx(TRUTH["Rein"], abs=0.001) and sd == pytest.approx(0.004, rel=0.2)


def test_report_with_lens_light_and_warnings(tmp_path):
    figure = report_figure(make_posterior(lens_light=True, shape=(61, 80), draws=20, spread=2.0))
    assert "data without lens light" in texts(figure) and "do not agree" in texts(figure)
    figure.savefig(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 30_000
    assert pyplot.get_fignums() == []


def test_corner_leaves_out_fixed_parameters(tmp_path):
    figure = corner_figure(make_posterior(fixed=("t", "x0"), draws=20), {"q": 0.75, "phi": TRUTH["phi"] + np.pi})
    figure.savefig(tmp_path / "corner.png")
    assert len(figure.axes) == 100 and "$t$ = 1.05" in texts(figure)
    assert pyplot.get_fignums() == []


def test_corner_of_fewer_draws_than_parameters(tmp_path):
    figure = corner_figure(make_posterior(draws=3))
    figure.savefig(tmp_path / "corner.png")
    assert "ein" in texts(figure) and (tmp_path / "corner.png").stat().st_size > 30_000


def test_corner_of_a_fixed_lens():
    assert corner_figure(make_posterior(fixed=tuple(TRUTH), draws=4)).axes == []


def test_words():
    assert value_with_error(0.70123, 0.00312) == "0.7012 ± 0.0031"
    assert value_with_error(12.3, 4.5) == "12.3 ± 4.5"
    assert value_with_error(1234, 56) == "1234 ± 56"
    assert value_with_error(1.0, 0.0) == "1 (fixed)"
    assert "10^" not in value_with_error(0.5, 1e-9) and "1.0e-09" in value_with_error(0.5, 1e-9)
    assert symbol("a_4") == "$a_{4}$" and symbol("phi_3") == r"$\varphi_{3}$" and symbol("new") == "new"


def test_sources_are_averaged_in_one_frame():
    """Draws whose fields are moved one way and whose sources the other way are one source on the sky."""
    posterior = make_posterior(draws=2, chains=1)
    n, pixel = 48, posterior.attrs["source_fov"] / 48
    x = blob(n, 2.4, 0.1, -0.2, 0.15)
    posterior.source.values[0] = [np.roll(x, (1, -2), (0, 1)), np.roll(x, (-1, 2), (0, 1))]
    for name, steps in (("xs", 2), ("ys", -1)):
        posterior.lens[name].values[0] = [steps * pixel, -steps * pixel]
    np.testing.assert_allclose(sources_in_one_frame(posterior), [x, x], atol=1e-6)
    # control: as they are, they are two
    assert np.abs(posterior.source.values[0].mean(0) - x).max() > 0.1
    # fields of other widths show the same source larger or smaller
    widths = np.array([1.1, 0.9]) * posterior.attrs["source_fov"]
    posterior.tree["posterior"]["source_fov"] = xr.DataArray(widths[None], dims=("chain", "draw"))
    moved = ((0.1 - 2 * pixel, -0.2 + pixel), (0.1 + 2 * pixel, -0.2 - pixel))
    posterior.source.values[0] = [blob(n, w, *at, 0.15) for w, at in zip(widths, moved, strict=True)]
    np.testing.assert_allclose(sources_in_one_frame(posterior), [x, x], atol=0.03)  # bilinear
