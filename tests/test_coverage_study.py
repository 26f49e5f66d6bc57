"""A study of coverage: systems, refusals, the page; and (slow) of the exact oracle, whole, with controls."""

import functools
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL_RUN, SMALL_SYSTEMS, interrupting

from blindlens.cli import main
from blindlens.config import CoverageConfig
from blindlens.coverage import coverage, setting, study, system
from blindlens.coverage.places import vectors
from blindlens.coverage.tally import CONTROLS, Tally
from blindlens.errors import BlindlensError, CannotWrite
from blindlens.inference.pipeline import Begun
from blindlens.inference.problem import build_problem
from blindlens.inference.scales import image_scales
from blindlens.inference.stages import fingerprint
from blindlens.lens.simulate import System
from blindlens.posterior import Posterior
from blindlens.progress import Progress


def tiny(run=(), **systems) -> CoverageConfig:
    """The exact oracle on systems that are drawn from its own prior: calibrated, whatever the size."""
    oracle = {"prior": "galaxy-gaussian", "method": "evidence", "draws": 16}
    return CoverageConfig.from_mapping({"systems": SMALL_SYSTEMS | systems, "run": SMALL_RUN | oracle | dict(run)})


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"draws": 3}, "of 8 or more"),
        ({"chains": 3, "draws": 6}, "of 8 or more"),
        ({"draws": 3, "chains": 20}, "of 4 or more"),
        ({"source_fov": 3.0}, "leave source_fov"),
        ({"flux_scale": 2.0}, "leave source_fov, flux_scale out"),
        ({"bin": 2}, "go without"),
        ({"prior": "galaxy64"}, "64 x 64"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path, changes, words):
    with pytest.raises(BlindlensError, match=words):
        coverage(tmp_path, 2, tiny(changes), Progress())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"sources": "procedural:2:5"}, "holds 2 images"),
        ({"sources": "nowhere"}, "neither a folder, nor procedural"),
        ({"source_pixels": 64}, "needs a Gaussian prior"),
    ],
)
def test_nothing_is_inferred_in_vain(tmp_path, monkeypatch, changes, words):
    monkeypatch.setattr(study, "infer", None)
    run = {"prior": "galaxy64"} if "source_pixels" in changes else {}
    with pytest.raises(BlindlensError, match=words):
        coverage(tmp_path / "study", 3, tiny(run, **changes), Progress())
    assert not (tmp_path / "study").exists()


def test_presets_are_valid_and_the_command_refuses_too_few(tmp_path, capsys):
    assert CoverageConfig.presets() == ["galaxy64", "gaussian"]
    assert all(CoverageConfig.load(name).run.initialise.most_rank == 192 for name in CoverageConfig.presets())
    with pytest.raises(SystemExit) as exit:
        main(["coverage", "--n", "1", "--out", str(tmp_path)])
    assert exit.value.code == 2 and "--n must be at least 2" in capsys.readouterr().err


def test_systems_are_their_own_whatever_their_number_and_what_is_told_may_be_wrong():
    tiny_study = setting(tiny())
    first, again, other = (system(tiny_study, k) for k in (0, 0, 1))
    np.testing.assert_array_equal(first.observation.image, again.observation.image)
    assert not np.allclose(first.source, other.source) and first.truth != other.truth
    wrong = system(setting(tiny(psf_error=1.5, noise_error=2.0)), 0)
    np.testing.assert_array_equal(wrong.observation.image, first.observation.image)
    assert wrong.observation.noise[0, 0] == 2 * first.observation.noise[0, 0]
    assert wrong.observation.psf.max() < 0.7 * first.observation.psf.max()
    # images of others, twice as bright; and no more systems than images
    bright = setting(tiny(sources="procedural:2:5", brightness=2.0, rays=4))
    plain = setting(tiny(sources="procedural:2:5"))
    np.testing.assert_allclose(system(bright, 1).source, 2 * system(plain, 1).source, rtol=1e-6)


def test_the_operator_that_infers_made_the_systems_however_bright():
    """More rays a pixel where arcs are bright: chosen from the same image for both, so that no error is left."""
    run = {"supersampling": "auto", "interpolation": "cubic"}
    for noise, closer in ((0.35, False), (1e-4, True)):
        tiny_study = setting(tiny(run, noise=noise))
        made, config = system(tiny_study, 0), tiny_study.run(0)
        scales = image_scales(made.observation, config)
        problem = build_problem(made.observation, tiny_study.prior, tiny_study.lens, config, config.source_fov, scales)
        truth = tiny_study.lens.space.to_normal({name: jnp.asarray(v) for name, v in made.truth.items()})
        x = jnp.asarray((made.source - tiny_study.prior.offset) / tiny_study.prior.scale, jnp.float32)
        off = np.asarray(problem.source_image(truth, x)) - made.noiseless
        assert np.abs(off).max() < 2e-5 * made.noiseless.max()
        assert (problem.operator.rays_a_pixel[0] > 4) == closer


SPREAD = 0.05


@functools.cache
def known(k: int) -> System:
    """System number k of the tiny study, made once."""
    return system(setting(tiny()), k)


def inferred(width: float):
    """A stand-in for `infer`: draws `width` times as wide as they should be, of lens and source, for truths that
    scatter round their middle by SPREAD, far less than the prior does."""

    tiny_study = setting(tiny())

    def infer(observation, prior, lens, config, out):
        k = int(observation.name[-4:])
        made, rng = known(k), np.random.default_rng([k, 1])
        truth = np.asarray(lens.space.to_normal({name: jnp.asarray(v) for name, v in made.truth.items()}))
        size = (config.chains, config.draws)
        eta = truth + SPREAD * (rng.normal(size=12) + width * rng.normal(size=(*size, 12)))
        lenses = {k: np.asarray(v) for k, v in lens.space.from_normal(jnp.asarray(eta)).items()}
        moved = SPREAD * (rng.normal(size=5) + width * rng.normal(size=(*size, 5))) @ tiny_study.components.T
        source = made.source + moved.reshape(*size, 12, 12)
        attrs = {"config": {}, "source_fov": 3.0, "times": {"sample": 2.0}}
        attrs["fingerprint"] = fingerprint(observation, prior, lens, config)
        stats = {"chi2_per_pixel": np.ones(size)}
        posterior = Posterior.from_draws(lenses, source, stats, observation, {"image": made.noiseless}, attrs)
        posterior.save(out / "posterior.nc")
        return posterior

    return infer


@pytest.fixture(scope="module")
def right_study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "infer", inferred(1.0))
        patch.setattr(study, "system", lambda _, k: known(k))
        return out, coverage(out, 30, tiny(), Progress())


def test_right_posteriors_pass_and_the_controls_do_not(right_study):
    _, figures = right_study
    assert figures["systems"] == 30 and figures["failed"] == 0 and figures["lenses an hour"] == pytest.approx(1800)
    assert figures["peak S/N"]["greatest"] == pytest.approx(max(known(k).noiseless.max() for k in range(30)))
    assert 1 < figures["greatest r_hat"] < 1.2 and max(figures["median width"].values()) < 2 * SPREAD
    for group in ("lens", "source", "both"):
        score, expected, error = figures["draws"][group]["Mira"].values()
        assert figures["draws"][group]["TARP p"] > 0.001 and abs(score - expected) < 4 * error
        for control in CONTROLS:
            assert figures[control][group]["TARP p"] < 0.01
    assert not any(figures["draws"][group]["ranks rejected at 1 %"] for group in ("lens", "source"))


def test_wrong_posteriors_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "infer", inferred(0.5))
    monkeypatch.setattr(study, "system", lambda _, k: known(k))
    figures = coverage(tmp_path, 20, tiny(), Progress())["draws"]
    assert not any(found["TARP inside the 95 % band"] for found in figures.values())
    assert figures["lens"]["ranks rejected at 1 %"] and figures["source"]["ranks rejected at 1 %"]


def test_a_study_leaves_tables_a_figure_and_each_posterior(right_study):
    out, figures = right_study
    assert json.loads((out / "coverage.json").read_text()) == figures
    assert len(figures["draws"]["lens"]["ranks"]) == 12 and len(figures["draws"]["source"]["ranks"]) == 9
    assert set(figures["draws"]) == {"lens", "source", "both"} == set(figures["draws 1.5 times as wide"])
    text = (out / "README.md").read_text()
    assert "| q phi (cos) |" in text and "| component_4 |" in text and "method: evidence" in text
    for table in text.split("\n\n"):
        assert len({row.count("|") for row in table.splitlines() if row.startswith("|")}) <= 1
    assert (out / "coverage.png").stat().st_size > 20_000
    assert len(list(out.glob("*/posterior.nc"))) == 30


def test_a_study_goes_on_and_counts_what_fails(right_study, monkeypatch):
    out, figures = right_study

    def fails(observation, *arguments, **options):
        assert observation.name == "system0030"  # the others are not run again
        raise BlindlensError("no start explains it")

    monkeypatch.setattr(study, "system", lambda _, k: known(k))
    monkeypatch.setattr(study, "infer", fails)
    again = coverage(out, 31, tiny(), Progress())
    assert again["systems"] == 30 and again["failed"] == 1 and again["draws"] == figures["draws"]
    failure = out / "system0030" / "failure.json"
    assert "no start" in failure.read_text()
    # what failed is not tried again unless its file is removed; a file that cannot be read is made again
    monkeypatch.setattr(study, "infer", inferred(1.0))
    whole, made, run = setting(tiny()), known(30), setting(tiny()).run(30)
    assert study.one(failure.parent, whole, made, run) == "no start explains it"
    failure.unlink()
    done = study.one(failure.parent, whole, made, run)
    (failure.parent / "posterior.nc").write_bytes(b"half a file")
    again = study.one(failure.parent, whole, made, run)
    np.testing.assert_array_equal(again.source.values, done.source.values)
    assert Posterior.load(failure.parent / "posterior.nc").attrs["fingerprint"] == done.attrs["fingerprint"]

    # a full disk is not the system's fault
    def full(*arguments, **options):
        raise CannotWrite("cannot write it; free some space")

    monkeypatch.setattr(study, "infer", full)
    (failure.parent / "posterior.nc").unlink()
    with pytest.raises(CannotWrite):
        study.one(failure.parent, whole, made, run)
    assert not failure.exists()
    # another seed is another study
    with pytest.raises(BlindlensError, match="another configuration"):
        coverage(out, 2, tiny({"seed": 1}), Progress())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["renoise", "latent"])
def test_systems_sampled_together_have_the_draws_that_each_has_alone(tmp_path, monkeypatch, method):
    quick = {"warmup": 2, "rank": 16, "krylov": 4, "moves": 1, "leaps": 2, "steps": 3}
    latent = {"warmup": 2, "moves": 1, "leaps": 2, "steps": 3}
    start = {"draws": 100, "starts": 2, "steps": 20, "polish_steps": 5, "keep": 2, "rank": 8, "most_rank": 40}
    small = {"chains": 2, "supersampling": 1, "interpolation": "bilinear", "initialise": start}
    config = tiny(small | {"method": method, "renoise": quick, "latent": latent, "draws": 8})
    alone = coverage(tmp_path / "alone", 2, config, Progress())
    fails = study.begin

    def begin(observation, *arguments):
        if observation.name == "system0002":
            raise BlindlensError("no start explains it")
        return fails(observation, *arguments)

    monkeypatch.setattr(study, "begin", begin)
    with pytest.raises(KeyboardInterrupt):
        coverage(tmp_path / "both", 3, config, interrupting(3), together=3)
    assert (tmp_path / "both" / "block2.stage").is_file()
    both = coverage(tmp_path / "both", 3, config, Progress(), together=3)
    assert both["failed"] == 1 and alone["draws"] == both["draws"]
    sources = []
    for k in range(2):
        a, b = (Posterior.load(tmp_path / name / f"system{k:04d}" / "posterior.nc") for name in ("alone", "both"))
        np.testing.assert_array_equal(a.source.values, b.source.values)
        assert b.attrs["times"]["sample"] > 0 and a.attrs["fingerprint"] == b.attrs["fingerprint"]
        sources.append(a.source.values)
    assert np.abs(sources[1] - sources[0]).max() > 0.01  # control: another system's
    assert not list((tmp_path / "both").rglob("*.stage"))
    with pytest.raises(BlindlensError, match="one by one"):
        coverage(tmp_path / "oracle", 2, tiny(), Progress(), together=2)


def test_systems_with_other_rays_or_directions_are_sampled_apart(tmp_path, monkeypatch):
    """Those with one number of both together, each with its own draws, whatever the order."""
    tiny_study = setting(tiny({"method": "renoise"}))
    group, runs, called = [system(tiny_study, k) for k in range(4)], [tiny_study.run(k) for k in range(4)], []
    rays, directions = (
        {run.seed: n for run, n in zip(runs, of, strict=True)} for of in ([4, 1, 4, 4], [16, 16, 16, 32])
    )

    def begin(observation, prior, lens, run, folder, progress):
        problem = SimpleNamespace(operator=SimpleNamespace(rays_a_pixel=(rays[run.seed],)))
        begun = SimpleNamespace(problem=problem, probes=np.zeros((144, directions[run.seed])))
        return Begun(observation, prior, prior, run, begun, SimpleNamespace(mark=""), progress)

    def sampled(begun, folder, progress):
        called.append([run.observation.name for run in begun])
        return called[-1]

    monkeypatch.setattr(study, "begin", begin)
    monkeypatch.setattr(study, "sampled_together", sampled)
    monkeypatch.setattr(study, "concluded", lambda run, drawn: (run.observation.name, drawn))
    names = [made.observation.name for made in group]
    found = study.several(tmp_path, tiny_study, group, runs, Progress())
    assert called == [[names[1]], [names[0], names[2]], [names[3]]]
    assert found == [(name, name) for name in names]


def test_ctrl_c_keeps_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "system", lambda _, k: known(k))
    whole = inferred(1.0)

    def interrupted(observation, *arguments, **options):
        if observation.name == "system0002":
            raise KeyboardInterrupt
        return whole(observation, *arguments, **options)

    monkeypatch.setattr(study, "infer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        coverage(tmp_path, 4, tiny(), Progress())
    assert len(list(tmp_path.glob("*/posterior.nc"))) == 2 and not (tmp_path / "coverage.json").exists()
    monkeypatch.setattr(study, "infer", whole)
    assert coverage(tmp_path, 4, tiny(), Progress())["systems"] == 4


def test_draws_are_thinned_to_what_they_are_worth_and_controls_keep_their_mean(right_study):
    out, _ = right_study
    tiny_study = setting(tiny())
    made, posterior = system(tiny_study, 0), Posterior.load(out / "system0000" / "posterior.nc")
    groups = vectors(tiny_study, made, posterior, np.random.default_rng(0))
    assert groups["both"].truth.size == 21 and groups["lens"].aside.shape == (32, 12)
    assert 8 <= len(groups["lens"].draws) <= 32
    wide = groups["lens"].widened(2.0)
    both = [np.concatenate([v.aside, v.draws]) for v in (groups["lens"], wide)]
    np.testing.assert_allclose(both[0].mean(0), both[1].mean(0), atol=1e-6)
    np.testing.assert_allclose(2 * both[0].std(0), both[1].std(0), rtol=1e-5)
    # chains that never moved are worth a draw each; the fewest are ranked all the same, and the study says so
    for name in posterior.lens:
        posterior.tree["posterior"][name].values[:, 1:] = posterior.tree["posterior"][name].values[:, :1]
    stuck = vectors(tiny_study, made, posterior, np.random.default_rng(0))["lens"]
    assert stuck.worth == 2 and len(stuck.draws) == 8
    tally = Tally(tiny_study)
    tally.add(made, posterior)
    tally.add(made, posterior)
    figures = tally.figures() | {"failed": 0}
    assert figures["greatest r_hat"] is None and figures["worth fewer draws than are ranked"] == 2
    assert json.dumps(figures, allow_nan=False) and "at most infinite" in study.page(tiny(), figures)


def test_images_may_be_made_by_more_mass_than_is_inferred(right_study):
    """Twelve parameters are ranked of a lens with two more, those of a fourth component."""
    out, _ = right_study
    more = {**SMALL_RUN["lens"], "mass": ("epl", "shear", "multipole3", "multipole4")}
    heavier = setting(tiny(lens=more))
    made, posterior = system(heavier, 0), Posterior.load(out / "system0000" / "posterior.nc")
    assert set(made.truth) - set(heavier.lens.space.names) == {"a_4", "phi_4"}
    groups = vectors(heavier, made, posterior, np.random.default_rng(0))
    assert groups["lens"].truth.size == groups["lens"].draws.shape[1] == 12
    tally = Tally(heavier)
    tally.add(made, posterior)
    assert tally.places["draws"]["lens"][0].ranks.size == 12 and np.isfinite(tally.r_hat[0])
    with pytest.raises(BlindlensError, match=r"needs all components of run.lens.mass"):
        tiny(lens={"mass": ("epl",)})
    with pytest.raises(BlindlensError, match="priors: wide out"):
        tiny(lens={**more, "priors": "wide"})
    # what could not be ranked is told before anything is inferred
    with pytest.raises(BlindlensError, match="Rein"):
        system(setting(tiny(lens={**more, "ranges": {"Rein": (4.0, 5.0)}})), 0)


@pytest.mark.slow
def test_the_oracle_is_calibrated_and_the_controls_are_not(tmp_path):
    """Simulation-based calibration (Talts et al. 2018) over 200 systems; about a quarter of an hour on one core."""
    figures = coverage(tmp_path, 200, tiny(), Progress())
    print(json.dumps(figures, indent=1))
    assert figures["failed"] == 0
    for group in ("lens", "source"):
        assert not figures["draws"][group]["ranks rejected at 1 %"]
        for control in CONTROLS:
            assert figures[control][group]["ranks rejected at 1 %"]
            assert not figures[control][group]["TARP inside the 95 % band"]
    for group in ("lens", "source", "both"):
        score, expected, error = figures["draws"][group]["Mira"].values()
        assert figures["draws"][group]["TARP p"] > 0.001 and abs(score - expected) < 3.5 * error
