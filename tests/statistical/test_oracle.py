"""Simulation-based calibration of the exact oracle (Talts et al. 2018): 200 small systems drawn from the prior itself.

python -m pytest -m slow -s tests/statistical/test_oracle.py; about a quarter of an hour on one core.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from blindlens.config import RunConfig
from blindlens.inference.pipeline import infer
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import GaussianPrior

SYSTEMS, FOV, PIXEL = 200, 3.0, 0.36
LENS = LensModel(ranges={"Rein": (0.8, 1.5), "xs": (-0.2, 0.2), "ys": (-0.2, 0.2)})


def small_prior() -> GaussianPrior:
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
    return GaussianPrior.from_profiles(
        12, r, np.exp(-r / 0.3), 0.1 + 0.8 * np.exp(-r / 0.35), k, 1 / (1 + k**2), 10.0, 0.0, "small"
    )


def one(i: int) -> tuple[np.ndarray, np.ndarray]:
    """System number i: posterior draws (N, d) and the truth (d,) in normal coordinates."""
    prior = small_prior()
    config = RunConfig().replace(
        method="evidence",
        flux_scale=1.0,
        source_fov=FOV,
        trim=False,
        supersampling=2,
        chains=4,
        draws=16,
        initialise={"draws": 400, "starts": 8, "steps": 60, "most_rank": 128, "tail": 1e-9},
        seed=i,
    )
    key = jax.random.fold_in(jax.random.key(77), i)
    x = prior.sample(jax.random.fold_in(key, 1), (1,))
    # the operator under test makes the data: calibration is a statement about one model
    (made,) = simulate(
        key,
        np.asarray(prior.scale * x + prior.offset),
        LENS,
        shape=(18, 18),
        pixel_scale=PIXEL,
        fov=FOV,
        psf_fwhm=PIXEL,
        sigma=1.0,
        supersampling=2,
        interpolation=config.interpolation,
    )
    posterior = infer(made.observation, prior, LENS, config)
    params = {name: jnp.asarray(posterior.lens[name].values.ravel()) for name in LENS.space.names}
    truth = LENS.space.to_normal({name: jnp.asarray(v) for name, v in made.truth.items()})
    return np.asarray(LENS.space.to_normal(params)), np.asarray(truth)


def p_values(values: np.ndarray) -> np.ndarray:
    """Chi square of ten bins against the uniform, per coordinate."""
    counts = np.stack([np.histogram(column, 10, (0, 1 + 1e-9))[0] for column in values.T])
    return scipy.stats.chisquare(counts, axis=1).pvalue


def uniform_p(draws: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """p values that the truths' ranks among the draws (systems, N, d) are uniform; ties are broken at random."""
    ranks = (draws < truths[:, None]).mean(1)
    jitter = np.random.default_rng(0).random(ranks.shape) / (draws.shape[1] + 1)
    return p_values(ranks * draws.shape[1] / (draws.shape[1] + 1) + jitter)


@pytest.mark.slow
def test_the_oracles_ranks_are_uniform():
    draws, truths = (np.array(part) for part in zip(*(one(i) for i in range(SYSTEMS)), strict=True))
    p = uniform_p(draws, truths)
    print("p values:", np.round(p, 3))
    assert p.min() > 0.01
    # controls: posteriors a third too narrow, and twice too wide, about their own means
    for factor in (0.65, 2.0):
        mean = draws.mean(1, keepdims=True)
        wrong = uniform_p(mean + factor * (draws - mean), truths)
        print(f"control, widths times {factor}:", wrong)
        assert wrong.min() < 1e-3
