"""A network as a Denoiser: preconditioning, batches, draws, files."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.prior import ScorePrior, load_prior
from blindlens.prior.networks import Compact, CompactConfig, NCSNpp, NCSNppConfig
from blindlens.prior.score import Span

N = 16
SPAN = Span(0.5, 0.01, 20.0)


def compact(seed: int = 0) -> ScorePrior:
    """A small network with weights that do something."""
    network = Compact.init(jax.random.key(seed), CompactConfig(widths=(8, 16)))
    rng = np.random.default_rng(seed)
    network = jax.tree.map(lambda t: t + 0.05 * rng.normal(size=t.shape).astype(np.float32), network)
    return ScorePrior(network, SPAN, "edm", 10.0, 0.1, N, "small")


def test_untrained_compact_is_the_best_linear_denoiser_of_white_pixels():
    network = Compact.init(jax.random.key(0), CompactConfig(widths=(8, 16)))
    prior = ScorePrior(network, SPAN, "edm", 1.0, 0.0, N, "blank")
    x = jax.random.normal(jax.random.key(1), (3, N, N))
    for sigma in (0.01, 0.5, 20.0):
        np.testing.assert_allclose(prior(x, sigma), x * 0.25 / (0.25 + sigma**2), rtol=1e-5)


def test_a_batch_with_its_own_noise_levels_is_image_by_image():
    prior = compact()
    x = jax.random.normal(jax.random.key(1), (2, 3, N, N))
    sigma = jnp.geomspace(0.02, 10, 6).reshape(2, 3)
    together = prior(x, sigma)
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(together[i, j], prior(x[i, j], sigma[i, j]), atol=2e-5)
    assert float(jnp.abs(prior(x[0, 0], 0.02) - prior(x[0, 0], 10.0)).max()) > 0.1  # control: the level matters


def test_every_weight_counts():
    prior, x = compact(), jax.random.normal(jax.random.key(1), (N, N))
    gradient = eqx.filter_grad(lambda p: jnp.sum(p(x, 0.5) ** 2))(prior)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(eqx.filter(gradient, eqx.is_array)))


def test_draws_follow_the_score():
    """The ODE's draws of the exact denoiser of white pixels, sd 0.5, have that sd; control: another denoiser."""
    network = Compact.init(jax.random.key(0), CompactConfig(widths=(8, 16)))
    for sd in (0.5, 1.0):
        prior = ScorePrior(network, SPAN._replace(sd=sd), "edm", 1.0, 0.0, N, "blank")
        x = np.asarray(prior.sample(jax.random.key(3), (64,)))
        wanted = x.std() / 0.5
        assert (abs(wanted - 1) < 0.03) == (sd == 0.5)
        assert abs(x.mean()) < 4 * sd / np.sqrt(x.size)


class OneBrightness(eqx.Module):
    """F and G of the exact denoiser of x ~ N(m, m^2/4 1 1^T + 0.01 I), in `edm` with sd 0.5."""

    m: float

    def __call__(self, x, log_noise):
        sigma = 0.5 * jnp.exp(log_noise)
        c_in = jax.lax.rsqrt(0.25 + sigma**2)
        x = x / c_in - self.m
        along = x.mean() * jnp.ones_like(x)
        v = N * N * self.m**2 / 4 + 0.01
        D = self.m + along * v / (v + sigma**2) + (x - along) * 0.01 / (0.01 + sigma**2)
        return (D - 0.25 * c_in**2 * (x + self.m)) / (sigma * 0.5 * c_in), jnp.zeros_like(x)


def test_draws_are_as_bright_as_the_prior(monkeypatch):
    """Galaxies whose norm is a third of sigma_max: their brightness must survive; control: starting at the noise."""
    prior = ScorePrior(OneBrightness(5 / 12), SPAN, "edm", 1.0, 0.0, N, "bright")

    def brightness() -> np.ndarray:
        return np.asarray(prior.sample(jax.random.key(1), (4000,), 20)).mean((1, 2)) * 12 / 5

    means = brightness()
    assert abs(means.mean() - 1) < 4 * 0.5 / np.sqrt(4000) and abs(means.std() / 0.5 - 1) < 4 / np.sqrt(8000)
    monkeypatch.setattr("blindlens.prior.score.ROUNDS", 0)
    assert abs(brightness().mean() - 1) > 10 * 0.5 / np.sqrt(4000)


@pytest.mark.parametrize("half", [False, True])
def test_files_hold_the_same_prior(tmp_path, half):
    prior, path = compact(), tmp_path / "small.safetensors"
    prior.save(path, {"note": "test"}, half)
    again = load_prior(str(path))
    x = jax.random.normal(jax.random.key(1), (2, N, N))
    np.testing.assert_allclose(prior(x, 0.3), again(x, 0.3), atol=5e-3 if half else 1e-6)
    assert (again.name, again.n, again.scale, again.offset) == ("small", N, 10.0, 0.1)
    network = NCSNpp.init(jax.random.key(0), NCSNppConfig(nf=8, ch_mult=(1, 2), num_res_blocks=1))
    ScorePrior(network, SPAN, "ve", 1.0, 0.0, N, "ve").save(path)
    other = load_prior(str(path))
    np.testing.assert_allclose(
        other(x[0], 0.3), x[0] + 0.3 * network(x[0], np.log(30) / np.log(2000)), rtol=1e-4, atol=1e-5
    )


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "small.safetensors"
    compact().save(path)
    with pytest.raises(BlindlensError, match="16 x 16 pixels, not 32 x 32"):
        load_prior(str(path), 32)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BlindlensError, match="not a readable blindlens file"):
        load_prior(str(path))
    other = ScorePrior(
        Compact.init(jax.random.key(0), CompactConfig(widths=(8, 12))), SPAN, "edm", 1.0, 0.0, N, "other"
    )
    from blindlens import storage

    other.save(path)
    arrays, header = storage.load_arrays(path)
    header["network_config"]["widths"] = [8, 16]
    storage.save_arrays(path, arrays, header)
    with pytest.raises(BlindlensError, match="does not fit this network"):
        load_prior(str(path))
    header["network"] = "transformer"
    storage.save_arrays(path, arrays, header)
    with pytest.raises(BlindlensError, match="needs a network 'transformer'"):
        load_prior(str(path))


def test_images_of_a_wrong_size_are_refused():
    with pytest.raises(BlindlensError, match="multiple of 4 pixels a side, not"):
        Compact.init(jax.random.key(0), CompactConfig(widths=(8, 16)))(jnp.zeros((18, 18)), jnp.float32(0))
