"""Training: the objective's optimum, exact resumption, refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.prior import GaussianPrior, load_prior
from blindlens.prior.networks import Compact, NCSNpp, NCSNppConfig
from blindlens.prior.networks.compact import CompactConfig
from blindlens.prior.networks.layers import Conv
from blindlens.prior.score import WEIGHTS, Span
from blindlens.prior.training import TrainConfig, train
from blindlens.prior.training.loop import batch_numbers
from blindlens.prior.training.objective import errors, in_precision, noise_levels

N = 16
SMALL = {
    "name": "small",
    "network_config": {"widths": [8, 16]},
    "data": {"n": N, "validation": 0.2, "augmentation": {"flips": False, "rotation": "none"}},
    "steps": 12,
    "batch": 16,
    "warmup": 2,
    "validate_every": 6,
    "validation_images": 16,
    "save_every": 4,
    "sigma_max": 10.0,
    "sigma_min": 0.01,
}


def config(tmp_path, images, **changes) -> TrainConfig:
    path = tmp_path / "images.npy"
    if not path.exists():
        np.save(path, np.asarray(images, np.float32))
    values = SMALL | changes
    data = values["data"] | {"sources": [str(path)]} | changes.get("data", {})
    return TrainConfig.from_mapping(values | {"data": data}, "test")


def white(count: int = 100) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, N, N))


def test_a_run_that_was_cut_goes_on_exactly(tmp_path, monkeypatch):
    whole = train(config(tmp_path, white()), tmp_path / "whole")

    def broken(numbers, config, step):
        if step == 7:
            raise KeyboardInterrupt
        return batch_numbers(numbers, config, step)

    train(config(tmp_path, white(), steps=8, decay=False), tmp_path / "other")  # control: another run
    monkeypatch.setattr("blindlens.prior.training.loop.batch_numbers", broken)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path, white()), tmp_path / "cut")
    monkeypatch.undo()
    assert (tmp_path / "cut" / "checkpoint.safetensors").exists()
    again = train(config(tmp_path, white()), tmp_path / "cut")
    for a, b in zip(jax.tree.leaves(whole.network), jax.tree.leaves(again.network), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tmp_path / "cut" / "losses.csv").read_text() == (tmp_path / "whole" / "losses.csv").read_text()
    kept = load_prior(str(tmp_path / "whole" / "small.safetensors"))
    other = load_prior(str(tmp_path / "other" / "small.safetensors"))
    x = jnp.asarray(white(1)[0], jnp.float32)
    np.testing.assert_allclose(kept(x, 1.0), whole(x, 1.0), atol=1e-6)
    assert float(jnp.abs(other(x, 1.0) - whole(x, 1.0)).max()) > 1e-4


def test_a_run_begins_with_the_weights_of_another(tmp_path):
    first = train(config(tmp_path, white()), tmp_path / "first")
    start = str(tmp_path / "first" / "small.safetensors")
    second = train(config(tmp_path, white(), start=start, steps=1, rate=1e-12, ema=[0.5]), tmp_path / "second")
    for a, b in zip(jax.tree.leaves(first.network), jax.tree.leaves(second.network), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert (first.span, first.scale, first.offset) == (second.span, second.scale, second.offset)
    with pytest.raises(BlindlensError, match="another network"):
        train(config(tmp_path, white(), start=start, network_config={"widths": [8, 12]}), tmp_path / "third")


def test_refusals(tmp_path):
    train(config(tmp_path, white()), tmp_path / "out")
    with pytest.raises(BlindlensError, match="another 'seed'"):
        train(config(tmp_path, white(), seed=3), tmp_path / "out")
    file = tmp_path / "out" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BlindlensError, match="not a readable blindlens file"):
        train(config(tmp_path, white(), steps=20), tmp_path / "out")
    with pytest.raises(BlindlensError, match="weights are not finite"):
        train(config(tmp_path, white(), rate=1e30, clip=1e30, warmup=0), tmp_path / "wild")
    assert not (tmp_path / "wild" / "checkpoint.safetensors").exists()
    with pytest.raises(BlindlensError, match="unknown key 'rat'"):
        TrainConfig.from_mapping({"rat": 1}, "x.yaml")
    with pytest.raises(BlindlensError, match="unknown key 'depth'"):
        train(config(tmp_path, white(), network_config={"depth": 3}), tmp_path / "deep")
    (tmp_path / "images.npy").unlink()
    bad = white()
    bad[3, 2, 1] = np.nan
    with pytest.raises(BlindlensError, match="finite|NaN"):
        train(config(tmp_path, bad), tmp_path / "nan")


def test_presets_are_what_the_paper_says():
    paper = TrainConfig.load("paper")
    assert (paper.network, paper.batch, paper.rate, paper.steps, paper.ema) == ("ncsnpp", 256, 5e-5, 230_000, (0.999,))
    assert (paper.data.scale, paper.data.offset, paper.sigma_min, paper.sigma_max) == (10.115, 0.125, 0.001, 50.0)
    assert TrainConfig.load("compact").network == "compact"


def test_batches_are_epochs(tmp_path):
    c = config(tmp_path, white(), batch=7)
    numbers = np.arange(10, 30)
    seen = np.concatenate([batch_numbers(numbers, c, step) for step in range(20)])
    assert all(len(batch_numbers(numbers, c, step)) == 7 for step in range(20))
    for epoch in range(7):
        np.testing.assert_array_equal(np.sort(seen[20 * epoch : 20 * (epoch + 1)]), numbers)
    assert (seen[:20] != seen[20:40]).any()


def test_noise_levels_are_evenly_spread():
    span = Span(0.5, 0.01, 50.0)
    for noise in ("log-uniform", "middle"):
        sigma = np.concatenate([noise_levels(jax.random.key(k), 64, span, noise) for k in range(50)])
        assert 0.01 <= sigma.min() and sigma.max() <= 50.0
        u = np.log(sigma / 0.01) / np.log(5000.0)
        spread = np.abs(np.sort(u) - (np.arange(u.size) + 0.5) / u.size).max()
        assert (spread < 0.01) == (noise == "log-uniform")
        # each batch alone is as even as it can be: one level in each of its intervals
        assert spread > 0.01 or len(np.unique(np.floor(64 * u[:64]))) == 64


def test_the_weight_is_the_inverse_error_of_a_linear_denoiser():
    span, rng = Span(0.5, 0.01, 50.0), np.random.default_rng(0)
    x = span.sd * rng.normal(size=100_000)
    for sigma in (0.05, 0.5, 5.0):
        D = (x + sigma * rng.normal(size=x.size)) * span.sd**2 / (span.sd**2 + sigma**2)
        assert abs(float(WEIGHTS["edm"](jnp.asarray(sigma), span)) * np.mean((D - x) ** 2) - 1) < 0.02


@pytest.mark.slow
def test_the_papers_network_is_trained_on_its_own_loss(tmp_path):
    """|F + eps|^2 whatever sigma is, F of the network; and a run of it ends with a prior that loads."""
    small = {"nf": 8, "ch_mult": [1, 2], "num_res_blocks": 1}
    c = config(tmp_path, white(), network="ncsnpp", network_config=small, steps=2, validate_every=2)
    prior = train(c, tmp_path / "out")
    assert load_prior(str(tmp_path / "out" / "small.safetensors")).preconditioning == prior.preconditioning == "ve"
    x, eps = (jax.random.normal(jax.random.key(k), (3, N, N)) for k in (1, 2))
    sigma = jnp.array([0.02, 1.0, 9.0])
    losses = eqx.filter_jit(errors)(prior, x, sigma, eps, jnp.dtype("float32"))
    network = eqx.filter_jit(prior.network)
    for k in range(3):
        t = jnp.log(sigma[k] / 0.01) / np.log(1000.0)
        F = network(x[k] + sigma[k] * eps[k], t)
        assert abs(float(losses[k]) / float(jnp.mean((F + eps[k]) ** 2)) - 1) < 1e-3
        # control: with the other weight large noise would count hundreds of times as much
        assert k < 2 or abs(float(losses[k] * WEIGHTS["edm"](sigma[k], prior.span) * sigma[k] ** 2)) > 50 * losses[k]


@pytest.mark.slow
def test_training_on_a_gaussian_reaches_the_analytic_denoiser(tmp_path):
    """Error within 5 % of the least possible at every sigma; the same network, untrained, is the control.

    A quarter of an hour on one core. With 6,000 steps on 20,000 draws it is 7 % at sigma 0.01.
    """
    r = np.linspace(0, np.sqrt(2), 12)
    k = np.arange(5.0)
    prior = GaussianPrior.from_profiles(N, r, np.exp(-3 * r), np.exp(-2 * r), k, (1 + k) ** -2.0, 1.0, 0.0, "g", 0.02)
    draws = np.asarray(prior.sample(jax.random.key(0), (100_000,)))
    c = config(
        tmp_path, draws, network_config={"widths": [32, 64]}, steps=24_000, batch=64, warmup=200, ema=[0.999],
        validate_every=4000, save_every=4000, sigma_min=0.01, sigma_max=20.0,
        data=SMALL["data"] | {"scale": 1.0, "offset": 0.0, "validation": 0.05},
    )  # fmt: skip
    trained = train(c, tmp_path / "out")
    blank = train(c.replace(steps=1), tmp_path / "blank")
    x = prior.sample(jax.random.key(1), (2000,))
    found = {}
    for i, sigma in enumerate((0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)):
        x_t = x + sigma * jax.random.normal(jax.random.key(10 + i), x.shape)
        least, ours, bare = (float(jnp.mean((D(x_t, sigma) - x) ** 2)) for D in (prior, trained, blank))
        print(f"sigma {sigma:g}: error / least {ours / least:.3f}, untrained {bare / least:.3f}")
        found[sigma] = ours / least, bare / least
    assert max(ratio for ratio, _ in found.values()) < 1.05
    assert all(control > 1.05 for _, control in found.values())


def test_half_precision_spares_what_it_would_destroy():
    """Frequencies of the noise level, and the layers that see faint noise on bright cores, stay in single precision."""
    network = NCSNpp.init(jax.random.key(0), NCSNppConfig(nf=16, ch_mult=(1, 1), num_res_blocks=1))
    half = in_precision(network, jnp.dtype("bfloat16"))
    assert half.stem.weight.dtype == jnp.bfloat16 and half.fourier.w.dtype == jnp.float32
    rng = np.random.default_rng(0)
    small = Compact.init(jax.random.key(0), CompactConfig(widths=(8, 16)))
    head = Conv(jnp.asarray(0.1 * rng.normal(size=small.head.weight.shape), jnp.float32), small.head.bias)
    small = eqx.tree_at(lambda n: n.head, small, head)
    x = jnp.asarray(rng.normal(size=(N, N)), jnp.float32)
    F, halved = small(x, 0.3)[0], in_precision(small, jnp.dtype("bfloat16"))(x, 0.3)[0]
    assert halved.dtype == jnp.float32  # not rounded on its way out
    assert 0 < float(jnp.abs(halved - F).max()) < 0.05 * float(jnp.abs(F).max())
