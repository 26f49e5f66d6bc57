"""The command line: exit codes, one sentence per mistake, four files, Ctrl-C."""

import json
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

import blindlens.inference.pipeline as pipeline
from blindlens import cli, prior
from blindlens.config import RunConfig
from blindlens.observation import Observation
from blindlens.posterior import Posterior


@pytest.fixture
def lens_file(tmp_path, posterior):
    path = tmp_path / "lens.fits"
    data = {name: posterior.image(name) for name in ("image", "noise", "mask")}
    Observation(**data, psf=np.ones((3, 3)), pixel_scale=0.08).to_fits(path)
    return path


def run(capsys, *arguments) -> tuple[int, str]:
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code, capsys.readouterr().err
    return 0, capsys.readouterr().err


@pytest.fixture
def calls(monkeypatch, posterior):
    """The pipeline replaced by one that records its arguments."""
    seen = []

    def infer(observation, **keywords):
        seen.append({"observation": observation, **keywords})
        posterior.save(keywords["out"] / "posterior.nc")
        return posterior

    monkeypatch.setattr(pipeline, "infer", infer)
    return seen


@pytest.fixture
def no_prior(monkeypatch):
    """No seconds spent on a prior that nobody uses."""
    monkeypatch.setattr(prior, "load_prior", lambda name: name)


def test_infer_writes_four_files(tmp_path, capsys, lens_file, calls, no_prior, posterior):
    out = tmp_path / "out"
    code, err = run(
        capsys, "infer", lens_file, "--out", out, "--config", "fast", "--draws", 7, "--seed", 5, "--source-fov", 2.5
    )
    assert code == 0 and "chi2 per pixel 1.0" in err
    assert {p.name for p in out.iterdir()} == {
        "posterior.nc",
        "summary.json",
        "report.png",
        "corner.png",
        "config.yaml",
    }
    assert Posterior.load(out / "posterior.nc").summary() == posterior.summary()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["parameters"]["Rein"]["mean"] == pytest.approx(1.5, abs=0.01) and summary["warnings"] == []
    (call,) = calls
    config = call["config"]
    assert (config.draws, config.seed, config.source_fov) == (7, 5, 2.5)
    assert config.split_gibbs == RunConfig.load("fast").split_gibbs
    assert RunConfig.load(out / "config.yaml") == config
    assert call["observation"].pixel_scale == pytest.approx(0.08) and call["out"] == out


def test_interrupt_says_how_to_go_on(tmp_path, capsys, lens_file, no_prior, monkeypatch):
    def infer(observation, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "infer", infer)
    code, err = run(capsys, "infer", lens_file, "--out", tmp_path / "out")
    assert code == 130 and f"kept in {tmp_path / 'out'}; the same command resumes" in err


def test_mistakes(tmp_path, capsys, lens_file, calls):
    (tmp_path / "bad.yaml").write_text("drawz: 3")
    (tmp_path / "broken.fits").write_bytes(lens_file.read_bytes()[:30000])
    fits.PrimaryHDU(np.full((80, 80), np.nan)).writeto(tmp_path / "nan.fits")
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(tmp_path / "zero.fits")
    (tmp_path / "file").write_text("")
    for arguments, words in [
        ([tmp_path / "none.fits"], "no file"),
        ([tmp_path / "broken.fits"], "not a readable FITS"),
        ([tmp_path / "nan.fits", "--noise", lens_file, "--psf", lens_file, "--pixel-scale", 1], "finite"),
        ([lens_file, "--psf", tmp_path / "zero.fits"], "PSF"),
        ([lens_file, "--noise", tmp_path / "zero.fits"], "noise map has shape"),
        ([tmp_path / "zero.fits"], "--noise"),
        ([tmp_path / "zero.fits", "--noise", lens_file, "--psf", lens_file], "--pixel-scale"),
        ([lens_file, "--config", tmp_path / "bad.yaml"], "did you mean 'draws'"),
        ([lens_file, "--prior", "no-such-prior"], "no-such-prior"),
        ([lens_file, "--draws", 0], "draws"),
        ([lens_file, "--draws", "many"], "--draws"),
        ([lens_file, "--drawz", 3], "--drawz"),
        ([lens_file, "--method", "guess"], "joint"),
        ([], "requires an argument"),
    ]:
        out = tmp_path / "out"
        code, err = run(capsys, "infer", *arguments, "--out", out)
        message = err.strip().splitlines()[-1]
        assert code == 2 and words in message and message.startswith("blindlens: "), (arguments, err)
        assert "Traceback" not in err and calls == []
        assert not out.exists() or {p.name for p in out.iterdir()} == {"config.yaml"}
    code, err = run(capsys, "infer", lens_file, "--out", tmp_path / "file" / "out")
    assert code == 2 and "cannot write" in err and calls == []


def test_unknown_command_in_a_process_of_its_own():
    done = subprocess.run([sys.executable, "-m", "blindlens", "infr"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "infr" in done.stderr and done.stdout == "" and len(done.stderr.splitlines()) == 1


def test_simulate(tmp_path, capsys):
    assert run(capsys, "simulate", "--n", 2, "--seed", 3, "--out", tmp_path / "a")[0] == 0
    assert run(capsys, "simulate", "--n", 1, "--seed", 3, "--out", tmp_path / "b")[0] == 0
    folders = sorted((tmp_path / "a").iterdir())
    assert [f.name for f in folders] == ["system0000", "system0001"]
    first, again = (Observation.from_fits(tmp_path / k / "system0000" / "image.fits") for k in "ab")
    np.testing.assert_array_equal(first.image, again.image)
    second = Observation.from_fits(folders[1] / "image.fits")
    assert first.shape == (64, 64) and first.pixel_scale == pytest.approx(12 / 64) and first.noise[0, 0] == 0.35
    assert np.corrcoef(first.image.ravel(), second.image.ravel())[0, 1] < 0.95
    truth = json.loads((folders[0] / "truth.json").read_text())
    assert truth["source_fov"] == 6.24 and 0.8 <= truth["lens"]["Rein"] <= 2.2 and len(truth["lens"]) == 12
    assert fits.getdata(folders[0] / "source.fits").max() > 0
    assert run(capsys, "simulate", "--n", 0, "--out", tmp_path / "c")[0] == 2


def test_compare_refuses_what_it_cannot_compare(tmp_path, capsys, lens_file):
    for extra, message in (
        ("nfw_subhalo", "lens.z_lens"),
        ("nothing", "unknown mass component"),
        ("shear", "nothing twice"),
    ):
        code, said = run(capsys, "compare", lens_file, "--with", extra, "--out", tmp_path / "out")
        assert code == 2 and message in said and said.count("\n") == 1
    code, said = run(capsys, "compare", lens_file, "--out", tmp_path / "out")
    assert code == 2 and "--with" in said
