"""Each check of a prior: right for the distribution's own draws and denoiser, and a control that it must refuse."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest

from blindlens.check.appearance import band_power, brightness_shares, median_ratio, power_ratio, structure_ratio
from blindlens.check.denoising import denoising_table
from blindlens.check.memorisation import memorisation, nearest_two
from blindlens.check.prior_quality import PAPER, SMALL, PriorCheckConfig, check_prior, draw
from blindlens.errors import BlindlensError
from blindlens.prior import Denoiser, GaussianPrior
from blindlens.progress import Progress

N = 16
SIGMAS = (0.03, 0.3, 3.0)


class Changed(Denoiser):
    """A prior whose denoiser does something else, `how`."""

    prior: GaussianPrior
    how: str = eqx.field(static=True)
    n: int = eqx.field(static=True, default=N)
    scale: float = eqx.field(static=True, default=10.0)
    offset: float = eqx.field(static=True, default=0.5)
    name: str = eqx.field(static=True, default="changed")

    def __call__(self, x_t, sigma):
        if self.how == "identity":
            return x_t
        if self.how == "units":  # the same prior, written in units of which 2 x + 0.25 are the other's
            return (self.prior(2 * x_t + 0.25, 2 * sigma) - 0.25) / 2
        return self.prior(x_t, {"wide": 2.0, "broken": np.nan}[self.how] * sigma)

    def sample(self, key, shape=()):
        return self.prior.sample(key, shape)


def make_prior(slope: float = 3.0, name: str = "test") -> GaussianPrior:
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 8.0)
    sd = 0.02 + 0.15 * np.exp(-r / 0.4)
    mean = 1.0 * np.exp(-((r / 0.3) ** 2) / 2)
    return GaussianPrior.from_profiles(N, r, mean, sd, k, 1 / (1 + k) ** slope, 10.0, 0.5, name, 0.01)


@pytest.fixture(scope="module")
def prior():
    return make_prior()


@pytest.fixture(scope="module")
def images(prior):
    return [draw(prior, jax.random.key(seed), 600, 100) for seed in range(3)]


def column(rows, name):
    return np.array([row[name] for row in rows])


def test_denoiser_of_the_images_own_prior(prior, images):
    rows = denoising_table({"own": prior}, images[0], SIGMAS, jax.random.key(5), 2, 200)["own"]
    assert (np.abs(column(rows, "ratio") - 1) < 4 * column(rows, "ratio_se")).all()
    assert (column(rows, "ratio_se") < 0.05).all()
    lam = np.concatenate([np.asarray(prior.eigenvalues), np.full(N * N - prior.basis.shape[1], prior.delta**2)])
    exact = np.array([np.mean(lam * s**2 / (lam + s**2)) for s in SIGMAS])
    for name in ("error", "claim"):
        assert (np.abs(column(rows, name) - exact) < 4 * column(rows, name + "_se")).all()


def test_other_denoisers_are_seen(prior, images):
    others = {how: Changed(prior, how) for how in ("wide", "identity")} | {"smooth": make_prior(6.0)}
    table = denoising_table({"own": prior, **others}, images[0], SIGMAS, jax.random.key(5), 2, 200)
    for name in ("wide", "smooth"):
        rows = table[name]
        assert (np.abs(column(rows, "ratio") - 1) > 8 * column(rows, "ratio_se")).any(), name
    same = np.abs(column(table["identity"], "ratio") - 1) < 4 * column(table["identity"], "ratio_se")
    assert same.all()  # which is why the error stands beside
    for name in others:
        assert (column(table[name], "error") > 1.02 * column(table["own"], "error")).any()


def test_denoisers_in_other_units_and_batches(prior, images):
    key, x = jax.random.key(1), images[0][:50]
    other = Changed(prior, "units", scale=20.0, offset=3.0)  # 20 x + 3 = 10 (2 x + 0.25) + 0.5
    table = denoising_table({"own": prior, "other": other}, x, SIGMAS, key, 1, 50)
    again = denoising_table({"own": prior}, x, SIGMAS, key, 1, 20)["own"]
    for name in ("error", "claim", "ratio_se"):
        np.testing.assert_allclose(column(table["other"], name), column(table["own"], name), rtol=1e-3)
        np.testing.assert_allclose(column(again, name), column(table["own"], name), rtol=1e-4)
    with pytest.raises(BlindlensError, match="not finite at sigma = 0.03"):
        denoising_table({"bad": Changed(prior, "broken")}, x, SIGMAS, key)
    with pytest.raises(BlindlensError, match="16 x 16"):
        denoising_table({"own": prior}, x[:, :8, :8], SIGMAS, key)
    with pytest.raises(BlindlensError, match="positive"):
        denoising_table({"own": prior}, x, (0.0,), key)


def test_power(prior, images):
    """White noise has flat power of the window's mean square; ratios are 1 for one prior and see another slope."""
    white = np.random.default_rng(0).normal(size=(500, N, N))
    window = np.hanning(N + 2)[1:-1] ** 2
    np.testing.assert_allclose(band_power(white).mean(0)[1:], window.mean() ** 2, rtol=0.05)
    result = power_ratio(images[0], images[1])
    deviation = (column([result], "ratio")[0] - 1) / column([result], "ratio_se")[0]
    assert np.abs(deviation).max() < 4 and result["wavenumber"] == list(range(1, N // 2 + 1))
    wave = np.cos(2 * np.pi * 5 * np.arange(N) / N) * np.ones((1, N, N))
    assert band_power(wave)[0].argmax() == 4
    steep = draw(make_prior(4.0), jax.random.key(0), 600, 100)
    result = power_ratio(steep, images[1])
    assert result["ratio"][5] < 1 - 8 * result["ratio_se"][5]


def test_error_of_a_ratio_of_medians():
    rng = np.random.default_rng(0)
    a, b = rng.normal(10, 1, (200, 300)), rng.normal(10, 1, (300, 300))
    ratio, se = median_ratio(a, b, rng)
    assert ratio.std() == pytest.approx(se.mean(), rel=0.15)
    assert ((ratio - 1) / se).mean() == pytest.approx(0, abs=0.25)


def test_brightness(images):
    result = brightness_shares(images[0], images[1])
    assert sum(result["samples"]) == pytest.approx(1) and sum(result["held_out"]) == pytest.approx(1)
    assert np.abs(result["deviation"]).max() < 4.5 and len(result["edges"]) == len(result["samples"]) - 1
    noisy = images[0] + 0.02 * np.random.default_rng(0).normal(size=images[0].shape)
    changed = brightness_shares(noisy, images[1])
    assert np.abs(changed["deviation"]).max() > 8 and changed["distance"] > 2 * result["distance"]
    assert brightness_shares(images[0] + 100, images[1])["distance"] > 0.999


def test_structure(images):
    result = structure_ratio(images[0][:200], images[1][:200], 10.0, 0.0)
    assert set(result) == {"unusable", "r50", "concentration", "asymmetry", "gini", "smoothness"}
    for name in set(result) - {"unusable"}:
        assert abs(result[name]["ratio"] - 1) < 4.5 * result[name]["ratio_se"], name
        assert sorted(result[name]["samples"]) == result[name]["samples"]
    noisy = images[0][:200] + 0.1 * np.random.default_rng(0).normal(size=(200, N, N))
    rough = structure_ratio(noisy, images[1][:200], 10.0, 0.0)["asymmetry"]
    assert rough["ratio"] > 1 + 8 * rough["ratio_se"]
    dark = structure_ratio(-np.abs(images[0][:3]), images[1][:5], 10.0, 0.0)
    assert dark["unusable"] == {"samples": 3, "held_out": 0} and np.isnan(dark["r50"]["ratio"])


def test_nearest_two_by_brute_force():
    rng = np.random.default_rng(0)
    images, training = rng.normal(size=(7, 8, 8)), rng.normal(size=(30, 8, 8)) + 50
    images[2] = np.rot90(training[4].T, 3)
    views = np.stack([np.rot90(v, k, (1, 2)) for v in (training, training.transpose(0, 2, 1)) for k in range(4)])
    for turns, stack in ((True, views), (False, training[None])):
        direct = np.sqrt(np.sum((images[:, None, None] - stack) ** 2, (-2, -1))).min(1)
        np.testing.assert_allclose(nearest_two(images, training, turns), np.sort(direct, 1)[:, :2], rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("turned", [False, True])
def test_copies_are_caught(images, turned):
    samples, held_out, training = images
    fair = memorisation(samples, held_out, training, 0.05)
    for name in ("close", "close_ratio"):
        assert abs(fair[name] - 0.05) < 4 * fair["se"]
    noise = 0.005 * np.random.default_rng(0).normal(size=(90, N, N))
    copies = training[:90] if not turned else training[:90, ::-1].transpose(0, 2, 1)
    result = memorisation(np.concatenate([samples[90:], copies + noise]), held_out, training, 0.05)
    for name in ("close", "close_ratio"):
        assert result[name] > 0.05 + 8 * fair["se"]
    if turned:
        blind = memorisation(np.concatenate([samples[90:], copies + noise]), held_out, training, 0.05, turns=False)
        assert blind["close"] < 0.05 + 4 * fair["se"]
    with pytest.raises(BlindlensError, match="100 held-out"):
        memorisation(samples, held_out[:99], training, 0.01)


def test_everything(prior, images):
    """Nothing is found on a prior's own draws; another slope, other images and copies are; JSON takes the result."""
    held_out, training = draw(prior, jax.random.key(7), 600, 100), images[2]
    config = SMALL.model_copy(update={"sigmas": SIGMAS, "batch": 64, "permutations": 50, "quantile": 0.05})
    progress = Progress()
    other = make_prior(5.0, "steep")
    result = check_prior(prior, held_out, training, jax.random.key(0), config, {"steep": other}, progress=progress)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result["denoising"]) == ["test", "steep"] and result["images"]["samples"] == 400
    assert set(progress.times) == {"prior draws", "pqmass", "appearance", "memorisation", "denoising"}
    for mass in result["pqmass"].values():
        assert mass["p"] > 0.01 and abs(mass["chi2"] - mass["null_mean"]) < 4 * mass["null_sd"]
    assert np.abs((column([result["power"]], "ratio") - 1) / column([result["power"]], "ratio_se")).max() < 4
    assert abs(result["memorisation"]["close"] - 0.05) < 4 * result["memorisation"]["se"]
    copies = np.resize(training, (400, N, N))
    bad = check_prior(other, held_out, training, jax.random.key(0), config, samples=copies)
    assert bad["memorisation"]["close"] == 1 and bad["memorisation"]["close_ratio"] == 1
    assert bad["pqmass"]["training"]["p_alike"] < 0.03
    assert abs(bad["denoising"]["steep"][0]["ratio"] - 1) > 8 * bad["denoising"]["steep"][0]["ratio_se"]


def test_draws_and_what_is_refused(prior, images):
    a, b = (draw(prior, jax.random.key(0), k, 8) for k in (11, 20))
    assert a.shape == (11, N, N) and (a == b[:11]).all() and len(np.unique(b[:, 0, 0])) == 20
    assert PAPER.tessellations == 2000
    with pytest.raises(ValueError, match="extra"):
        PriorCheckConfig(tesellations=3)
    with pytest.raises(BlindlensError, match="held_out"):
        check_prior(prior, images[0][:, :8, :8], images[1], jax.random.key(0), SMALL)
    with pytest.raises(BlindlensError, match="different names"):
        check_prior(prior, images[0], images[1], jax.random.key(0), SMALL, {"test": prior}, images[2])
