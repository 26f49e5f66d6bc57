"""`derive` and `export` on a finished run, the options of `infer` that feed them, and their mistakes."""

import json

import numpy as np
import pytest
from test_cli import calls, lens_file, no_prior, run  # noqa: F401 (fixtures)

from blindlens.config import RunConfig
from blindlens.cosmology import Distances
from blindlens.posterior import Posterior


@pytest.fixture
def finished(tmp_path, posterior):
    folder = tmp_path / "run"
    posterior.save(folder / "posterior.nc")
    (folder / "summary.json").write_text(json.dumps(posterior.summary()))
    return folder


def test_derive_after_the_run(finished, capsys, posterior):
    code, err = run(capsys, "derive", finished, "--z-lens", 0.4, "--z-source", 1.5, "--cosmology", "WMAP9")
    assert code == 0 and "einstein_mass" in err and "give --zero-point" in err
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["parameters"] == posterior.summary()["parameters"]
    mass = summary["derived"]["values"]["einstein_mass"]
    assert mass["mean"] == pytest.approx(Distances.between(0.4, 1.5, "WMAP9").mass(1.5), rel=0.01)
    code, err = run(capsys, "derive", finished, "--zero-point", 26, "--north-up")
    again = json.loads((finished / "summary.json").read_text())["derived"]
    assert again["values"]["einstein_mass"] == mass  # what was given before is kept
    assert again["values"]["mass_position_angle"]["sd"] > 0 and "unlensed_magnitude" in again["values"]
    kept = Posterior.load(finished / "posterior.nc")
    assert kept.attrs["config"]["physics"]["zero_point"] == 26 and kept.attrs["config"]["draws"] == 100
    np.testing.assert_array_equal(kept.source.values, posterior.source.values)


def test_export(finished, capsys, tmp_path):
    out = tmp_path / "lens.json"
    code, err = run(capsys, "export", "coolest", finished / "posterior.nc", "--out", out)
    assert code == 0 and "5 FITS files" in err and "has no redshifts" in err
    assert json.loads(out.read_text())["lensing_entities"][2]["light_model"]
    code, err = run(capsys, "export", "coolest", finished / "posterior.nc", "--out", out, "--no-source",
                    "--z-lens", 0.3, "--z-source", 0.9)  # fmt: skip
    content = json.loads(out.read_text())
    assert "no redshifts" not in err and not content["lensing_entities"][2]["light_model"]
    assert [entity["redshift"] for entity in content["lensing_entities"]] == [0.3, 0.3, 0.9]


def test_infer_takes_what_is_known(tmp_path, capsys, lens_file, calls, no_prior):  # noqa: F811
    out = tmp_path / "out"
    code, _ = run(capsys, "infer", lens_file, "--out", out, "--z-lens", 0.4, "--z-source", 1.5, "--north-up")
    physics = RunConfig.load(out / "config.yaml").physics
    assert code == 0 and (physics.z_lens, physics.z_source, physics.north_up) == (0.4, 1.5, True)
    assert "magnification" in json.loads((out / "summary.json").read_text())["derived"]["values"]


def test_mistakes(finished, capsys, tmp_path):
    for arguments, words in [
        (["derive", tmp_path / "none"], "the folder of a finished run"),
        (["derive", finished, "--z-lens", 2, "--z-source", 1], "must lie behind"),
        (["derive", finished, "--cosmology", "flat"], "none of astropy's"),
        (["export", "coolest", finished / "posterior.nc", "--out", tmp_path / "lens.txt"], ".json file"),
    ]:
        code, err = run(capsys, *arguments)
        assert code == 2 and words in err and len(err.strip().splitlines()) == 1, err
