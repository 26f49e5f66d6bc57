"""The whole path on a tiny system: both methods, and a run that is broken off and resumed."""

import equinox as eqx
import numpy as np
import pytest
from conftest import TINY_LENS, TINY_RANGES, Hidden, interrupting

from blindlens.config import RunConfig
from blindlens.errors import BlindlensError
from blindlens.inference import pipeline
from blindlens.inference.pipeline import infer
from blindlens.inference.problem import SMALLER
from blindlens.inference.stages import fingerprint
from blindlens.prior import load_prior

CONFIG = RunConfig().replace(
    flux_scale=1.0,
    source_fov=3.0,
    chains=2,
    draws=16,
    # the whole image: the few dozen pixels of the crop would leave chi2 a scatter of a fifth
    trim=False,
    interpolation="bilinear",
    supersampling=1,
    initialise={"draws": 100, "starts": 3, "steps": 20, "polish_steps": 5, "keep": 2, "rank": 8, "most_rank": 40},
    split_gibbs={"warmup": 8, "thin": 1},
    renoise={"warmup": 4, "rank": 40, "krylov": 4, "steps": 4, "leaps": 3},
    latent={"warmup": 6, "steps": 3, "leaps": 3},
)


def test_a_run_broken_off_resumes_to_the_same_draws(tiny_system, tmp_path):
    made, prior = tiny_system
    config = CONFIG.replace(trim=True)  # the only run here of the part of the image that sees the source
    whole = infer(made.observation, prior, TINY_LENS, config, out=tmp_path / "whole")
    assert (tmp_path / "whole" / "posterior.nc").is_file()
    assert not list((tmp_path / "whole").glob("*.stage"))  # nothing but results is left
    with pytest.raises(KeyboardInterrupt):
        infer(made.observation, prior, TINY_LENS, config, out=tmp_path / "broken", progress=interrupting(1))
    kept = {path.name for path in (tmp_path / "broken").glob("*.stage")}
    assert {"start.stage", "chains.stage", "block0.stage"} <= kept
    resumed = infer(made.observation, prior, TINY_LENS, config, out=tmp_path / "broken")
    np.testing.assert_array_equal(resumed.source.values, whole.source.values)
    for name in TINY_LENS.space.names:
        np.testing.assert_array_equal(resumed.lens[name].values, whole.lens[name].values)
    # control: another seed is another run
    other = infer(made.observation, prior, TINY_LENS, config.replace(seed=1))
    assert not np.array_equal(other.lens["Rein"].values, whole.lens["Rein"].values)


@pytest.mark.slow
def test_sampler_and_oracle_see_the_same_lens(tiny_system):
    made, prior = tiny_system
    config = CONFIG.replace(draws=64)
    ours = infer(made.observation, prior, TINY_LENS, config)
    exact = infer(made.observation, prior, TINY_LENS, config.replace(method="evidence"))
    sd = exact.lens["Rein"].values.std()
    assert abs(ours.mean()["Rein"] - exact.mean()["Rein"]) < 0.5 * sd
    assert abs(made.truth["Rein"] - exact.mean()["Rein"]) < 4 * sd
    for posterior in (ours, exact):
        assert 0.6 < posterior.summary()["chi2_per_pixel"] < 1.4
        assert posterior.source.shape == (2, 64, 8, 8)
    assert np.isfinite(exact.attrs["log_evidence"])


def test_a_prior_without_a_density_runs_resumes_and_finds_the_lens(tiny_system, tmp_path, monkeypatch):
    made, gaussian = tiny_system
    prior = Hidden(gaussian)
    monkeypatch.setattr("blindlens.inference.pipeline.load_prior", lambda name, n: gaussian)
    config = CONFIG.replace(source_fov=None)
    with pytest.raises(KeyboardInterrupt):
        infer(made.observation, prior, TINY_LENS, config, out=tmp_path, progress=interrupting(6))
    resumed = infer(made.observation, prior, TINY_LENS, config, out=tmp_path)
    whole = infer(made.observation, prior, TINY_LENS, config)
    np.testing.assert_array_equal(resumed.source.values, whole.source.values)
    np.testing.assert_array_equal(resumed.lens["Rein"].values, whole.lens["Rein"].values)
    assert 0.6 < whole.summary()["chi2_per_pixel"] < 1.4
    Rein = whole.lens["Rein"].values
    assert abs(made.truth["Rein"] - Rein.mean()) < 4 * Rein.std()
    assert resumed.attrs["levels"][-1] == config.renoise.end
    # nobody gave the field, so it is sampled
    fov = whole.lens["source_fov"].values
    assert fov.std() > 0 and abs(fov.mean() - 3.0) < 4 * fov.std()
    assert whole.attrs["source_fov"] == pytest.approx(fov.mean())
    assert list(whole.attrs["priors"]) == list(whole.lens)
    field, radius = (whole.attrs["priors"][name] for name in ("source_fov", "Rein"))
    assert (field["kind"], field["low"]) == ("log-uniform", pytest.approx(0.1 * 14 * 0.4 / SMALLER))
    assert [radius["low"], radius["high"]] == list(TINY_RANGES["Rein"])
    # the same name with other weights is another prior, whose run is not resumed
    other = Hidden(eqx.tree_at(lambda g: g.mean, gaussian, 1.1 * gaussian.mean))
    assert fingerprint(made.observation, other, TINY_LENS, config) != fingerprint(
        made.observation, prior, TINY_LENS, config
    )
    # the method that needs a density says so
    with pytest.raises(BlindlensError, match="needs a Gaussian prior"):
        infer(made.observation, prior, TINY_LENS, config.replace(method="evidence"))


def test_flights_in_the_flow_resume_and_find_the_lens(tiny_system, tmp_path, monkeypatch):
    made, gaussian = tiny_system
    prior = Hidden(gaussian)
    monkeypatch.setattr("blindlens.inference.pipeline.load_prior", lambda name, n: gaussian)
    config = CONFIG.replace(source_fov=None, method="latent")  # but for the method, the run above: compiled once
    with pytest.raises(KeyboardInterrupt):  # when the warm-up of `renoise` is over, and coordinates are adapted
        infer(made.observation, prior, TINY_LENS, config, out=tmp_path, progress=interrupting(7))
    resumed = infer(made.observation, prior, TINY_LENS, config, out=tmp_path)
    whole = infer(made.observation, prior, TINY_LENS, config)
    np.testing.assert_array_equal(resumed.source.values, whole.source.values)
    assert whole.attrs["sigma"] == config.latent.sigma
    assert 0.6 < whole.summary()["chi2_per_pixel"] < 1.4
    Rein = whole.lens["Rein"].values
    assert Rein.std() > 0 and abs(made.truth["Rein"] - Rein.mean()) < 4 * Rein.std()


class Chosen(Exception):
    """The sampler that was called."""


@pytest.mark.parametrize(
    "method, module", [("joint", "split_gibbs_run"), ("renoise", "renoise_run"), ("latent", "latent_run")]
)
def test_the_method_decides_who_samples_under_a_gaussian(tiny_system, monkeypatch, method, module):
    made, prior = tiny_system

    def called(name):
        def sample(*arguments):
            raise Chosen(name)

        return sample

    for name in ("split_gibbs_run", "renoise_run", "latent_run"):
        monkeypatch.setattr(f"blindlens.inference.{name}.sample", called(name))
    with pytest.raises(Chosen, match=module):
        infer(made.observation, prior, TINY_LENS, CONFIG.replace(method=method))


def test_a_surrogate_must_be_gaussian(tiny_system):
    made, gaussian = tiny_system
    with pytest.raises(BlindlensError, match="the surrogate galaxy64 is no Gaussian prior"):
        infer(made.observation, Hidden(gaussian, n=64), TINY_LENS, CONFIG.replace(surrogate="galaxy64"))


def test_a_sweep_of_a_denoiser_is_dear_and_draws_are_fewer_by_default(monkeypatch):
    for module in (pipeline.renoise_run, pipeline.latent_run):
        monkeypatch.setattr(module, "sample", lambda *args: [args[2:4]])
    monkeypatch.setattr(pipeline.oracle, "sample", lambda *args: args[4:6])
    gaussian = load_prior("galaxy-gaussian", 8)
    for method, size in (("renoise", (4, 24)), ("latent", (4, 24)), ("evidence", (4, 64))):
        run = pipeline.Begun(None, gaussian, gaussian, RunConfig(method=method), (None,) * 5, None, None)
        assert pipeline._sampled(run) == size
        few = run._replace(config=run.config.replace(draws=5, chains=2))
        assert pipeline._sampled(few) == (2, 5)
