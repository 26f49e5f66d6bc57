"""The command line: exit codes, one sentence per mistake, the files, Ctrl-C."""

import html
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


def test_infer_writes_its_files(tmp_path, capsys, lens_file, calls, no_prior, posterior):
    out = tmp_path / "out"
    code, err = run(
        capsys, "infer", lens_file, "--out", out, "--config", "fast", "--draws", 7, "--seed", 5, "--source-fov", 2.5
    )
    assert code == 0 and "chi2 per pixel 1.0" in err
    assert {p.name for p in out.iterdir()} == {
        "posterior.nc",
        "summary.json",
        "report.html",
        "report.png",
        "corner.png",
        "config.yaml",
    }
    assert Posterior.load(out / "posterior.nc").summary() == posterior.summary()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["parameters"]["Rein"]["mean"] == pytest.approx(1.5, abs=0.01) and summary["warnings"] == []
    command = Posterior.load(out / "posterior.nc").attrs["command"]
    assert command == (
        f"blindlens infer {lens_file} --config fast --source-fov 2.5 --draws 7 --seed 5 --out {out}"
    ) and command in html.unescape((out / "report.html").read_text())
    (call,) = calls
    config = call["config"]
    assert (config.draws, config.seed, config.source_fov) == (7, 5, 2.5)
    assert config.split_gibbs == RunConfig.load("fast").split_gibbs
    assert RunConfig.load(out / "config.yaml") == config
    assert call["observation"].pixel_scale == pytest.approx(0.08) and call["out"] == out


def test_report_makes_the_files_again_from_the_posterior(tmp_path, capsys, posterior):
    posterior.save(tmp_path / "posterior.nc")
    code, err = run(capsys, "report", tmp_path)
    assert code == 0 and "usable" in err
    names = {"posterior.nc", "summary.json", "report.html", "report.png", "corner.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["verdict"]["state"] == "usable"
    assert summary["parameters"]["q"]["mean"] == pytest.approx(posterior.mean()["q"])
    code, err = run(capsys, "report", tmp_path / "nowhere")
    assert (
        code == 2 and "there is no file" in err and len(err.splitlines()) == 1 and not (tmp_path / "nowhere").exists()
    )


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


@pytest.fixture
def neighbour_file(tmp_path):
    """A ring round the middle of 121 x 121 pixels of 0.08 arcsec, and a star at pixel (16, 61), counted from 1."""
    y, x = (np.indices((121, 121)) - 60) * 0.08
    image = 20 * np.exp(-((np.hypot(x, y) - 1.5) ** 2) / 0.02) + np.random.default_rng(0).normal(size=x.shape)
    image += 60 * np.exp(-((x + 3.6) ** 2 + y**2) / 2 / 0.1**2)
    y, x = np.indices((9, 9)) - 4
    path = tmp_path / "star.fits"
    Observation(image, np.ones_like(image), np.exp(-(x**2 + y**2) / 3), pixel_scale=0.08).to_fits(path)
    return path


def test_who_masks_neighbours_follows_the_options(tmp_path, capsys, neighbour_file, calls, no_prior):
    def observed(*arguments):
        code, err = run(capsys, "infer", neighbour_file, "--out", tmp_path / "out", *arguments)
        assert code == 0, err
        return calls[-1]["observation"], calls[-1]["config"], " ".join(err.split())

    observation, config, _ = observed()
    assert observation.mask.all() and config.contaminants == "mask"  # the pipeline does it, for Python too
    assert observed("--contaminants", "keep")[1].contaminants == "keep"
    own = tmp_path / "own.fits"
    mask = np.ones((121, 121), np.uint8)
    mask[:5] = 0
    fits.PrimaryHDU(mask).writeto(own)
    given, config, err = observed("--mask", own)
    np.testing.assert_array_equal(given.mask, mask > 0)
    assert f"{116 * 121} of 14641 pixels are used (non-zero in" in err and config.contaminants == "keep"


def test_neighbours_are_masked_by_infer_unless_told(monkeypatch, neighbour_file):
    class Seen(Exception):
        pass

    def begin(observation, *_):
        raise Seen(observation)

    monkeypatch.setattr(pipeline, "begin", begin)
    observation = Observation.from_fits(neighbour_file)
    light = RunConfig(lens_light="mge").replace(lens={"priors": "paper"})
    without = RunConfig(lens_light="none")
    for config, masked in ((light, True), (light.replace(contaminants="keep"), False), (without, False)):
        with pytest.raises(Seen) as seen:
            pipeline.infer(observation, "galaxy-gaussian", config=config)
        (cleaned,) = seen.value.args
        assert cleaned.mask[60, 15] != masked and cleaned.mask[:, 40:].all()
        assert any("1 neighbour beyond 2.8 arcsec" in note for note in cleaned.notes) == masked


def test_centre_size_and_noise_from_the_background(tmp_path, capsys, neighbour_file, calls, no_prior):
    with fits.open(neighbour_file) as hdus:
        fits.HDUList([h for h in hdus if h.name != "NOISE"]).writeto(tmp_path / "bare.fits")
    arguments = ["--background-rms", 0.9, "--exposure", 3, "--gain", 2, "--centre", 51, 61, "--size", 6]
    code, err = run(capsys, "infer", tmp_path / "bare.fits", "--out", tmp_path / "out", *arguments)
    assert code == 0 and "about pixel (51, 61)" in " ".join(err.split())
    observation = calls[-1]["observation"]
    assert observation.shape == (75, 75) and observation.noise.max() > 0.9
    for arguments, words in (
        ([], "--background-rms"),
        (["--exposure", 3], "go with --background-rms"),
        (["--background-rms", 1, "--centre", 500, 3], "outside the image"),
        (["--background-rms", 1, "--psf-oversampling", 0], "whole number"),
    ):
        code, err = run(capsys, "infer", tmp_path / "bare.fits", "--out", tmp_path / "out", *arguments)
        assert code == 2 and words in err and len(err.strip().splitlines()) == 1


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
