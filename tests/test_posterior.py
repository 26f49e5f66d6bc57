"""Posterior: circular summaries, the schema on disk, unreadable files."""

import json

import numpy as np
import pytest
import xarray as xr
from conftest import TRUTH, blob, make_posterior

from blindlens.errors import BlindlensError
from blindlens.posterior import Posterior, period, unwrapped


def test_periods():
    assert period("phi") == period("phi_light") == pytest.approx(np.pi)
    assert period("phi_3") == pytest.approx(2 * np.pi / 3) and period("phi_4") == pytest.approx(np.pi / 2)
    assert period("q") is None and period("gamma_1") is None


@pytest.mark.parametrize("name", ["phi", "phi_3"])
def test_orientations_across_the_cut_are_summarised_as_one_cloud(name):
    rng = np.random.default_rng(0)
    p = period(name)
    draws = (0.01 + 0.03 * rng.normal(size=(4, 500))) % p
    assert draws.std() > 0.3  # the control: the plain standard deviation is nonsense
    centred = unwrapped(name, draws)
    assert centred.std() == pytest.approx(0.03, rel=0.1)
    assert abs((centred.mean() - 0.01 + p / 2) % p - p / 2) < 0.005
    np.testing.assert_allclose(np.exp(2j * np.pi * centred / p), np.exp(2j * np.pi * draws / p), atol=1e-12)


def test_summary_recovers_what_went_in(posterior):
    summary = posterior.summary()
    assert list(summary["parameters"]) == list(TRUTH)
    for name, row in summary["parameters"].items():
        offset = row["mean"] - TRUTH[name]
        if p := period(name):
            offset = (offset + p / 2) % p - p / 2
        assert abs(offset) < 4 * row["sd"] / np.sqrt(400)
        assert row["q05"] < row["q50"] < row["q95"]
        assert row["q95"] - row["q05"] == pytest.approx(3.29 * row["sd"], rel=0.15)
        assert row["r_hat"] < 1.03 and 250 < row["ess"] < 600
    assert summary["chi2_per_pixel"] == pytest.approx(1, abs=0.005)
    assert summary["chi2_per_pixel_of_mean_model"] == pytest.approx(1, abs=0.08)
    assert summary["pixels_used"] == 80 * 80 - 6 * 12 - 9
    assert summary["warnings"] == [] and summary["chains"] == 4 and summary["draws"] == 100
    json.dumps(summary, allow_nan=False)


def test_the_sources_numbers_do_not_depend_on_its_pixels_frame():
    posterior, size = make_posterior(chains=2, draws=20, fixed=("xs", "ys")), 0.2
    draws, n = posterior.tree["posterior"], 48
    at, fov = np.random.default_rng(5).uniform(-0.2, 0.2, (2, 2, 20)), np.linspace(2.0, 2.8, 40).reshape(2, 20)
    draws["xs"].values[...], draws["ys"].values[...] = at
    draws["source_fov"] = xr.DataArray(fov, dims=("chain", "draw"))
    for c, d in np.ndindex(2, 20):  # a Gaussian at (0.1, -0.05), whatever the frame
        x, y = (0.1 - at[0, c, d], -0.05 - at[1, c, d])
        draws["source"].values[c, d] = blob(n, fov[c, d], x, y, size)
    found = posterior.source_numbers()
    np.testing.assert_allclose(found["flux"], 2 * np.pi * size**2 / 0.08**2, rtol=1e-3)
    np.testing.assert_allclose(found["r50"], np.sqrt(2 * np.log(2)) * size, atol=0.01)  # a fifth of a pixel
    np.testing.assert_allclose(found["x"], 0.1, atol=1e-3)
    np.testing.assert_allclose(found["y"], -0.05, atol=1e-3)
    draws["source_fov"].values[...] = 2.4  # the control: sizes that forget the field are wrong
    assert np.abs(posterior.source_numbers()["flux"] / found["flux"] - 1).max() > 0.2


def test_chains_that_disagree_are_said_so():
    words = make_posterior(spread=2.0).summary()["warnings"]
    assert len(words) == 1 and "4 chains do not agree" in words[0] and "r_hat" in words[0]
    short = make_posterior(draws=3).summary()
    assert "more draws" in short["warnings"][0] and short["parameters"]["q"]["r_hat"] is None


def test_round_trip(tmp_path, posterior):
    posterior.save(tmp_path / "p.nc")
    again = Posterior.load(tmp_path / "p.nc")
    assert again.attrs == posterior.attrs
    assert again.attrs["config"] == {"draws": 100} and again.attrs["times"]["sample"] == 95.5
    for group in ("posterior", "sample_stats", "observed_data", "constant_data", "model"):
        xr.testing.assert_identical(again.tree[group].to_dataset(), posterior.tree[group].to_dataset())
    assert again.source.dims == ("chain", "draw", "y", "x") and again.lens["q"].dims == ("chain", "draw")
    assert float(again.source.x[-1]) == pytest.approx(1.2 - 0.025)
    assert again.summary() == posterior.summary()


def test_arviz_reads_it(tmp_path, posterior):
    import arviz_base

    posterior.save(tmp_path / "p.nc")
    table = arviz_base.extract(xr.open_datatree(tmp_path / "p.nc", engine="h5netcdf"), var_names=["Rein"])
    assert float(table.mean()) == pytest.approx(TRUTH["Rein"], abs=1e-3)


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "truncated", "foreign"])
def test_unreadable_files(tmp_path, posterior, kind):
    path = tmp_path / "p.nc"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("not netCDF")
    elif kind == "truncated":
        posterior.save(path)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "foreign":
        xr.Dataset({"a": 1.0}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(BlindlensError) as error:
        Posterior.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
