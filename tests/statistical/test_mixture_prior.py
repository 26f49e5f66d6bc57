"""Is the joint sampler for score priors calibrated, with a prior that is not Gaussian and known exactly?

python -m pytest -m slow -s tests/statistical/test_mixture_prior.py
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL_RUN, SMALL_SYSTEMS
from mixture import galaxies, in_studies

from blindlens.config import CoverageConfig
from blindlens.coverage import coverage
from blindlens.coverage.tally import CONTROLS
from blindlens.progress import Progress

SYSTEMS = 100
STUDY = {
    "systems": SMALL_SYSTEMS,
    "run": {
        **SMALL_RUN,
        "prior": "mixture",
        "draws": 32,
        "renoise": {"warmup": 16, "rank": 128, "unseen": 0, "krylov": 0},
    },
}


def test_the_mixture_is_what_it_says():
    prior = galaxies()
    x = np.asarray(prior.sample(jax.random.key(0), (4000,)), np.float64).reshape(4000, -1)
    moments = prior.gaussian()
    B = np.asarray(moments.basis, np.float64)
    sd = np.sqrt(np.diag(B @ B.T))
    assert np.abs((x.mean(0) - np.asarray(moments.mean).ravel()) / sd).max() < 4.5 / np.sqrt(4000)
    np.testing.assert_allclose(x.std(0), sd, rtol=0.12)
    # no Gaussian: the total light of its kinds lies apart
    total = (x.sum(1) - x.sum(1).mean()) / x.sum(1).std()
    assert abs(np.mean(total**4) - 3) > 0.5
    # the denoiser is the mean of x given x_t: its error is orthogonal to any function of x_t, and least
    noise = np.asarray(jax.random.normal(jax.random.key(1), x.shape))
    for sigma in (0.1, 1.0):
        x_t = jnp.asarray(x + sigma * noise, jnp.float32).reshape(-1, 12, 12)
        D = np.asarray(prior(x_t, sigma)).reshape(x.shape)
        linear = np.asarray(moments(x_t, sigma)).reshape(x.shape)
        for other in (D, linear):
            products = ((x - D) * (other - x.mean(0))).sum(1)
            assert abs(products.mean()) < 4.5 * products.std() / np.sqrt(4000)
        assert np.mean((x - D) ** 2) < 0.95 * np.mean((x - linear) ** 2)


@pytest.mark.slow
def test_the_sampler_of_score_priors_is_calibrated(tmp_path):
    with in_studies(galaxies()):
        figures = coverage(tmp_path, SYSTEMS, CoverageConfig.from_mapping(STUDY), Progress())
    print(json.dumps(figures, indent=1))
    for group in ("lens", "source"):
        assert not figures["draws"][group]["ranks rejected at 1 %"]
        assert figures["draws"][group]["TARP p"] > 0.001
        for control in CONTROLS:
            assert not figures[control][group]["TARP inside the 95 % band"]
