"""Configuration: round trips, presets, and one sentence for every mistake."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from blindlens.config import RunConfig, presets
from blindlens.errors import BlindlensError


def test_yaml_round_trip(tmp_path):
    config = RunConfig().replace(draws=7, flux_scale=2.5, lens={"mass": ["sie"], "ranges": {"q": [0.5, 1.0]}})
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert RunConfig.load(tmp_path / "run.yaml") == config
    assert config.lens.ranges["q"] == (0.5, 1.0) and config != RunConfig()


def test_left_out_keys_keep_their_defaults(tmp_path):
    (tmp_path / "run.yaml").write_text("initialise: {starts: 3}\n")
    config = RunConfig.load(tmp_path / "run.yaml")
    assert config.initialise.starts == 3
    assert config == RunConfig().replace(initialise={"starts": 3})
    (tmp_path / "empty.yaml").write_text("")
    assert RunConfig.load(tmp_path / "empty.yaml") == RunConfig()


def test_presets():
    assert {"default", "paper", "fast"} <= set(presets())
    assert RunConfig.load("default") == RunConfig()
    paper, fast = RunConfig.load("paper"), RunConfig.load("fast")
    assert paper.source_fov == 6.24 and paper.flux_scale == 1.0
    assert (paper.initialise.sersic.starts, paper.initialise.sersic.steps) == (1250, 8000)
    assert fast.split_gibbs.warmup < RunConfig().split_gibbs.warmup


def test_a_start_is_a_method_or_a_file(tmp_path):
    assert RunConfig().initialise.method == "low-rank" and RunConfig().initialise.file is None
    config = RunConfig().replace(initialise={"method": "modes/lens.yaml"})
    assert config.initialise.file == Path("modes/lens.yaml")
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert RunConfig.load(tmp_path / "run.yaml") == config
    assert RunConfig().replace(initialise={"method": "sersic-adam"}).initialise.file is None


def test_frozen():
    with pytest.raises(ValidationError):
        RunConfig().draws = 3


def test_the_default_number_of_draws_is_by_their_price():
    config = RunConfig()
    assert config.size(denoised=True) == (4, 24) and config.size(denoised=False) == (4, 64)
    assert config.replace(draws=7, chains=2).size(denoised=True) == (2, 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("drawz: 3", "unknown key 'drawz'; did you mean 'draws'"),
        ("initialise: {start: 3}", "unknown key 'initialise.start'; did you mean 'starts'"),
        ("zzz: 1", "known keys are method"),
        ("draws: many", "draws: give a whole number from 1 on, or 'auto', not 'many'"),
        ("draws: 0", "draws: give a whole number from 1 on, or 'auto', not 0"),
        ("draws: [1", "not YAML"),
        ("- 1\n- 2", "whole file"),
        ("just words", "whole file"),
        ("flux_scale: unknown", "positive number or 'infer'"),
        ("supersampling: 0", "from 1 on, or 'auto'"),
        ("flux_scale: -1", "positive number or 'infer'"),
        ("method: mcmc", "joint"),
        ("lens: {mass: epl}", "lens.mass"),
        ("{method: gibbsddrm, lens: {priors: wide}}", "leave lens.priors out"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, text, words):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(BlindlensError) as error:
        RunConfig.load(tmp_path / "run.yaml")
    assert words in str(error.value) and "run.yaml" in str(error.value) and "\n" not in str(error.value)


def test_missing_file_names_the_presets():
    with pytest.raises(BlindlensError, match="presets are: default, fast, paper"):
        RunConfig.load("nowhere.yaml")


def test_every_field_is_plain_yaml():
    assert yaml.safe_load(RunConfig().to_yaml())["lens"]["mass"] == ["epl", "shear", "multipole3"]
