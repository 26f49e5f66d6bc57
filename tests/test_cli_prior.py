"""The commands about priors, end to end on the smallest of everything."""

import json

import numpy as np
import pytest
import yaml
from astropy.io import fits

from blindlens.cli import main

TINY = {
    "name": "tiny",
    "network_config": {"widths": [8, 16]},
    "data": {"n": 16, "validation": 0.2},
    "steps": 4,
    "batch": 8,
    "warmup": 1,
    "sigma_max": 10.0,
    "validate_every": 4,
    "validation_images": 8,
    "save_every": 2,
}


def run(*arguments: object) -> None:
    main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    np.save(folder / "images.npy", np.random.default_rng(0).gamma(1.0, size=(60, 16, 16)).astype(np.float32))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    with pytest.raises(SystemExit) as ended:
        run(
            "train",
            "--data",
            folder / "images.npy",
            "--preset",
            folder / "tiny.yaml",
            "--seed",
            5,
            "--out",
            folder / "out",
        )
    assert ended.value.code == 0
    return folder


def test_a_trained_prior_says_what_it_is(trained, capsys):
    with pytest.raises(SystemExit):
        run("prior", "card", trained / "out" / "tiny.safetensors")
    card = yaml.safe_load(capsys.readouterr().out)
    assert (card["name"], card["n"], card["network"], card["about"]["steps"]) == ("tiny", 16, "compact", 4)
    assert card["about"]["train"]["seed"] == 5 and card["about"]["version"]
    losses = (trained / "out" / "losses.csv").read_text().splitlines()
    assert losses[0].startswith("step,weights,0.001-0.01") and losses[-1].startswith("4,ema")
    assert (trained / "out" / "losses.png").stat().st_size > 5000


def test_draws(trained, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run("prior", "sample", trained / "out" / "tiny.safetensors", "--n", 5, "--out", tmp_path)
    assert ended.value.code == 0
    cube = fits.getdata(tmp_path / "samples.fits")
    assert cube.shape == (5, 16, 16) and np.isfinite(cube).all() and (tmp_path / "samples.png").stat().st_size > 5000


def test_check_of_the_shipped_gaussian(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run("prior", "check", "galaxy-gaussian", "--data", "procedural:1000:7", "--out", tmp_path)
    assert ended.value.code == 0
    result = json.loads((tmp_path / "check.json").read_text())
    # the Gaussian prior is told from galaxies at once, galaxies from galaxies are not
    assert result["pqmass"]["held_out"]["p"] < 0.02 < result["pqmass"]["real"]["p"]
    assert "PQMass" in capsys.readouterr().out
    for name in ("check.md", "sheet.png", "appearance.png", "denoising.png"):
        assert (tmp_path / name).stat().st_size > 100


def test_interrupted_training_says_how_to_go_on(trained, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("blindlens.prior.training.loop.batch_numbers", stop)
    command = ("train", "--data", trained / "images.npy", "--preset", trained / "tiny.yaml", "--out", tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        run(*command)
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 130 and "the same command goes on" in said and "Traceback" not in said
    monkeypatch.undo()
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
    with pytest.raises(SystemExit) as ended:
        run(*command)
    assert ended.value.code == 0 and (tmp_path / "out" / "tiny.safetensors").exists()


def test_check_against_what_the_prior_was_trained_on(tmp_path, capsys, monkeypatch):
    images = np.random.default_rng(1).gamma(1.0, size=(1000, 16, 16)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    data = {**TINY["data"], "sources": ["images.npy"], "validation": 0.5}
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump({**TINY, "data": data}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run("train", "--preset", "mix.yaml", "--out", "out")
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        run("prior", "check", "out/tiny.safetensors", "--out", "check")
    assert ended.value.code == 0
    sizes = json.loads((tmp_path / "check" / "check.json").read_text())["images"]
    assert sizes["held_out"] == 400 and 400 < sizes["training"] < 600
    (tmp_path / "images.npy").unlink()
    with pytest.raises(SystemExit) as ended:
        run("prior", "check", "out/tiny.safetensors", "--out", "again")
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2 and "give --data, or run where" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--data", "nowhere", "--out", "{out}"), "nowhere is neither a folder"),
        (
            ("train", "--preset", "fast", "--out", "{out}"),
            "presets are: compact, galaxy64, galaxy64-first, ncsnpp64, paper",
        ),
        (("prior", "card", "nothing"), "there is no prior file nothing; shipped priors are: galaxy-gaussian"),
        (("prior", "sample", "galaxy-gaussian", "--n", "0", "--out", "{out}"), "--n must be at least 1"),
        (("prior", "check", "galaxy-gaussian", "--samples", "5", "--out", "{out}"), "samples: input should be greater"),
        (("prior", "import", "nowhere", "--scale", "1", "--offset", "0", "--out", "{out}/a.safetensors"), "nowhere"),
    ],
)
def test_mistakes(arguments, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*(a.format(out=tmp_path / "out") for a in arguments))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and words in " ".join(said.split()) and "Traceback" not in said
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()
