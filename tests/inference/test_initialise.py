"""Where runs begin: from a file and from a Sersic source as well as from nothing, at the same mode."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from conftest import TINY_LENS as LENS
from conftest import TINY_RANGES

from blindlens import cli, prior
from blindlens.config import RunConfig
from blindlens.errors import BlindlensError
from blindlens.inference.beginnings import MOST, begun, likely_mixture
from blindlens.inference.evidence import Evidence, Mode, scatter
from blindlens.inference.given import FARTHEST, coordinates, read_sets
from blindlens.inference.initialise import distinct, inflated, initialise, seen
from blindlens.inference.problem import build_problem
from blindlens.inference.stages import fingerprint
from blindlens.posterior import Posterior
from blindlens.progress import Progress

STAGE = {"draws": 128, "starts": 3, "steps": 30, "keep": 2, "rank": 8, "most_rank": 64}
# no direction of the source left out, or the evidence of two starts could not be compared
STAGE |= {"sersic": {"starts": 16, "steps": 100}, "polish_steps": 20, "tail": 1e-9}
CONFIG = RunConfig().replace(
    lens={"mass": ["sie"], "ranges": TINY_RANGES},
    flux_scale=1.0,
    source_fov=3.0,
    initialise=STAGE,
    chains=2,
    draws=8,
    split_gibbs={"warmup": 8, "thin": 1},
)


@pytest.fixture(scope="module")
def system(tiny_system):
    made, prior = tiny_system
    return made.observation, prior


def begin(system, method, config=CONFIG, key=0):
    config = config.replace(initialise={**STAGE, "method": method})
    observation, prior = system
    return initialise(jax.random.key(key), observation, prior, LENS, config, Progress())


def parameters(system, start, config=CONFIG) -> dict[str, float]:
    observation, prior = system
    problem = build_problem(observation, prior, LENS, config, start.fov)
    return {name: float(value) for name, value in problem.params(start.modes.eta[0]).items()}


def apart(a, b) -> float:
    """Laplace standard deviations from the best mode of a to that of b, at the most."""
    z = np.linalg.solve(np.asarray(a.modes.factor[0], float), np.asarray(a.modes.eta[0] - b.modes.eta[0], float))
    return float(np.abs(z).max())


@pytest.fixture(scope="module")
def cold(system):
    return begin(system, "low-rank")


def write(path, values):
    path.write_text(json.dumps(values) if path.suffix == ".json" else yaml.safe_dump(values))
    return path


@pytest.mark.slow
def test_a_file_ends_at_its_mode(system, cold, tmp_path):
    found = parameters(system, cold)
    rounded = {name: round(value, 2) for name, value in found.items()}
    start = begin(system, write(tmp_path / "mode.yaml", rounded))
    assert apart(cold, start) < 0.5 and start.shape == cold.shape and len(start.modes.eta) == 1
    assert float(start.modes.log_posterior[0]) > float(cold.modes.log_posterior[0]) - 0.2
    # nothing is left out, so nothing is drawn: another key, the same start
    again = begin(system, write(tmp_path / "mode.json", rounded), key=1)
    np.testing.assert_array_equal(start.modes.eta, again.modes.eta)


@pytest.mark.slow
def test_of_many_sets_the_best_distinct_ones_begin(system, cold, tmp_path):
    found = parameters(system, cold)
    far = found | {"Rein": 1.49, "q": 0.61, "phi": found["phi"] + np.pi / 2, "x0": -0.19, "y0": 0.19, "xs": -0.34}
    start = begin(system, write(tmp_path / "sets.json", [far, found, found]))
    assert apart(cold, start) < 0.5
    # control: one that is far away and left there does not arrive
    alone = CONFIG.replace(initialise={**STAGE, "method": write(tmp_path / "far.json", far), "polish_steps": 1})
    observation, prior = system
    assert apart(cold, initialise(jax.random.key(0), observation, prior, LENS, alone, Progress())) > 3


@pytest.mark.slow
def test_what_a_file_leaves_out_is_found(system, cold, tmp_path):
    found = parameters(system, cold)
    config = CONFIG.replace(flux_scale="infer", source_fov=None)
    some = {name: value for name, value in found.items() if name not in ("xs", "ys")}
    start = begin(system, write(tmp_path / "some.yaml", some), config)
    observation, prior = system
    full = Evidence(build_problem(observation, prior, LENS, config, start.fov), prior.basis, prior.mean)
    ended = full.problem.params(start.modes.eta[0])
    assert 2.0 < start.fov < 4.5 and 0.3 < float(ended["flux_scale"]) < 3
    assert abs(float(ended["Rein"]) - found["Rein"]) < 0.05
    # no worse than what was left out; the position in a field that is free says little
    left_out = {name: jnp.asarray(value) for name, value in (found | {"flux_scale": 1.0}).items()}
    known = full.log_posterior(full.problem.space.to_normal(left_out))
    assert float(full.log_posterior(start.modes.eta[0])) > float(known) - 1


@pytest.mark.slow
def test_a_sersic_source_leads_to_the_same_lens(system, cold):
    start = begin(system, "sersic-adam")
    assert apart(cold, start) < 1
    assert float(start.modes.log_posterior[0]) > float(cold.modes.log_posterior[0]) - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{Rein: 1.2, rein: 3}", "unknown parameter 'rein'; the names are x0, y0, q, phi, Rein, xs, ys"),
        ("{Rein: 3}", "Rein = 3 lies outside its prior range [0.8, 1.5]"),
        ("{q: 0.8}", "q and phi go together"),
        ("{Rein: wide}", "Rein must be a finite number, not 'wide'"),
        ("{Rein: .nan}", "Rein must be a finite number"),
        ("{Rein: yes}", "Rein must be a finite number"),
        ("[]", "must hold a set of lens parameters"),
        ("", "must hold a set of lens parameters"),
        ("just words", "must hold a set of lens parameters"),
        ("[{Rein: 1.2}, {}]", "must hold a set of lens parameters"),
        ("{Rein: 1.2", "neither YAML nor JSON"),
        ("{lens: {Rein: 1.2}, fov: 3}", "lens must be a finite number"),
    ],
)
def test_mistakes_in_a_file_are_one_sentence(system, tmp_path, text, words):
    path = tmp_path / "start.yaml"
    path.write_text(text)
    with pytest.raises(BlindlensError) as error:
        begin(system, path)
    assert words in str(error.value) and "start.yaml" in str(error.value) and "\n" not in str(error.value)


def test_the_truth_of_a_simulated_system_is_a_set(tmp_path):
    truth = {"lens": {"Rein": 1.2, "q": 0.8, "phi": 0.1}, "source_fov": 6.24, "seed": 0, "version": "0.1.0"}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    assert read_sets(tmp_path / "truth.json") == [truth["lens"]]


def test_files_that_cannot_be_read(system, tmp_path):
    with pytest.raises(BlindlensError, match="no file .*sersic-adm.*takes low-rank and sersic-adam"):
        begin(system, tmp_path / "sersic-adm")
    with pytest.raises(BlindlensError, match="cannot read"):
        begin(system, tmp_path)
    (tmp_path / "image.fits").write_bytes(b"\xff\xfe\x00SIMPLE")
    with pytest.raises(BlindlensError, match="neither YAML nor JSON"):
        begin(system, tmp_path / "image.fits")


def test_a_changed_file_is_another_run(system, tmp_path):
    observation, prior = system

    def mark(Rein):
        path = write(tmp_path / "start.yaml", {"Rein": Rein})
        return fingerprint(observation, prior, LENS, CONFIG.replace(initialise={**STAGE, "method": path}))

    assert mark(1.1) == mark(1.1) != mark(1.2)


@pytest.mark.slow
def test_the_command_begins_from_a_file(system, cold, tmp_path, monkeypatch, capsys):
    observation, gaussian = system
    monkeypatch.setattr(prior, "load_prior", lambda name: gaussian)
    observation.to_fits(tmp_path / "lens.fits")
    (tmp_path / "run.yaml").write_text(CONFIG.to_yaml())
    found = parameters(system, cold)
    path = write(tmp_path / "mode.json", found)
    files = ["--config", tmp_path / "run.yaml", "--out", tmp_path / "out"]
    cli.app([str(a) for a in ("infer", tmp_path / "lens.fits", "--init", path, *files)], result_action="return_value")
    assert RunConfig.load(tmp_path / "out" / "config.yaml").initialise.method == path
    posterior = Posterior.load(tmp_path / "out" / "posterior.nc")
    Rein = posterior.lens["Rein"].values
    assert abs(Rein.mean() - found["Rein"]) < 3 * Rein.std() and 0.5 < posterior.summary()["chi2_per_pixel"] < 1.6
    assert "initialise: done" in capsys.readouterr().err
    # a mistake costs one sentence and no traceback
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in ("infer", tmp_path / "lens.fits", "--init", tmp_path / "nowhere.yaml", *files)])
    assert stop.value.code == 2 and "there is no file" in capsys.readouterr().err


def test_the_part_that_sees_a_source_does_not_shrink_to_nothing_with_its_brightness(system):
    """Where no pixel's scatter reaches three times the noise, a tenth of the most is what counts."""
    observation, prior = system
    evidence = Evidence(build_problem(observation, prior, LENS, CONFIG, CONFIG.source_fov), prior.basis, prior.mean)
    eta = jnp.zeros((1, LENS.space.size))
    bright, faint = seen(evidence, eta), seen(inflated(evidence, 1e4), eta)
    assert min(faint) >= 2 and all(b >= f for b, f in zip(bright, faint, strict=True))
    # control: at that noise nothing reaches the threshold
    assert float(scatter(inflated(evidence, 1e4), eta[0]).max()) < 3


def test_coordinates_at_the_end_of_a_range_are_finite():
    eta, known = coordinates(LENS.space, {"Rein": 0.8, "q": 1.0, "phi": 7.0})
    assert np.abs(eta).max() == FARTHEST and known.sum() == 3
    assert float(LENS.space.from_normal(jnp.asarray(eta))["Rein"]) == pytest.approx(0.8, abs=1e-3)


def test_chains_begin_at_likely_modes_in_turn():
    eta, factor = np.zeros((3, 2)), np.stack([np.eye(2)] * 3)
    # the narrow mode's volume is e^-9.2 of the others'
    factor[1] *= 0.01
    modes = Mode(eta, factor, jnp.array([0.0, 5.0, -40.0]))
    assert begun(modes, 4).tolist() == [0, 1, 0, 1]
    assert begun(modes._replace(log_posterior=jnp.array([0.0, -2.0, -8.0])), 4).tolist() == [0, 2, 0, 2]


def test_jumps_lead_to_likely_modes_alike():
    eta, factor = jnp.arange(6.0).reshape(3, 2), jnp.stack([jnp.eye(2)] * 3)
    mixture = likely_mixture(Mode(eta, factor, jnp.array([0.0, -40.0, -5.0])))
    weights = np.exp(np.asarray(mixture.log_weights))
    assert len(weights) == MOST and weights.tolist() == [1, 1] + [0] * (MOST - 2)
    np.testing.assert_array_equal(mixture.means[:2], np.asarray(eta)[[0, 2]])
    draws = jax.vmap(mixture.sample)(jax.random.split(jax.random.key(0), 4000))
    near = [float(jnp.mean(jnp.linalg.norm(draws - mean, axis=1) < 3.0)) for mean in eta]
    assert abs(near[0] - near[2]) < 0.06 and near[0] > 0.4
    assert np.isfinite(float(mixture.log_density(eta[2])))


def test_modes_with_a_valley_between_them_are_two_however_many_dimensions():
    """Seven dimensions, two tops six standard deviations apart in one of them: less than 3 per root dimension."""
    d, where = 7, np.array([-3.0, 3.0])

    def log_posterior(eta):
        return float(np.logaddexp(*(-((eta[0] - m) ** 2 + eta[1:] @ eta[1:]) / 2 for m in where)))

    eta = np.zeros((3, d))
    eta[:, 0] = [-3.0, 3.0, -2.9]
    values, factors = np.array([log_posterior(e) for e in eta]), np.stack([np.eye(d)] * 3)
    assert distinct(eta, values, factors, 8, 30.0, log_posterior).tolist() == [0, 1]
    # control: by distance alone they are one; and a plateau has no valley
    assert distinct(eta, values, factors, 8, 30.0).tolist() == [0]
    assert distinct(eta, values, factors, 8, 30.0, lambda _: values[0]).tolist() == [0]
    # so before there is a Laplace approximation: without a look at what lies between, ends of one mode take two places
    assert distinct(eta, values, None, 2, 30.0).tolist() == [0, 1]
    flat = eta + np.array([[0.0], [0.0], [1.0]]) * np.eye(d)[1]
    values = np.array([log_posterior(e) for e in flat]) + [0.2, 0.0, 0.6]
    assert distinct(flat, values, None, 2, 30.0).tolist() == [0, 2]
    assert distinct(flat, values, None, 2, 30.0, log_posterior).tolist() == [0, 1]
