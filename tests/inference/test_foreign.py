"""What no source behind the lens explains is masked; what one does explain is not."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.config import RunConfig
from blindlens.inference.evidence import Evidence
from blindlens.inference.foreign import ROUNDS, foreign, noted, without_foreign
from blindlens.inference.problem import build_problem
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import GaussianPrior

SCALE, FOV = 0.15, 3.0


@pytest.fixture(scope="module")
def system():
    """A lens with its truth, the Gaussian prior of its source, and what explains it."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 8.0)
    prior = GaussianPrior.from_profiles(
        16, r, 0.5 * np.exp(-r / 0.3), 0.05 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k) ** 2, 10.0, 0.1, "test"
    )
    x = 10.0 * prior.sample(jax.random.key(0), (1,)) + 0.1
    (made,) = simulate(
        jax.random.key(1), np.asarray(x), LensModel(), shape=(44, 44), pixel_scale=SCALE, fov=FOV, psf_fwhm=0.3
    )
    return made, prior


def masked(observation, system, lens=None) -> np.ndarray:
    """Which pixels are masked when the lens is the truth, or `lens`."""
    made, prior = system
    config = RunConfig().replace(flux_scale=1.0, source_fov=FOV)
    evidence = Evidence(build_problem(observation, prior, LensModel(), config, FOV), prior.basis, prior.mean)
    eta = LensModel().space.to_normal({name: jnp.asarray(v) for name, v in (lens or made.truth).items()})
    cleaned = observation
    for _ in range(ROUNDS):
        now = eqx.tree_at(lambda e: e.problem.weight, evidence, evidence.problem.weight * cleaned.mask)
        further = without_foreign(cleaned, cleaned, now, eta)
        if further is cleaned:
            break
        cleaned = further
    cleaned = noted(observation, cleaned)
    assert len(cleaned.notes) == (cleaned is not observation) == (observation.mask & ~cleaned.mask).any()
    return observation.mask & ~cleaned.mask


def with_star(observation, x0: float, y0: float, peak: float):
    x, y = observation.coordinates()
    return replace(observation, image=observation.image + peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 0.05))


def test_a_star_is_masked_with_its_surroundings_and_nothing_else(system):
    made, _ = system
    x, y = made.observation.coordinates()
    for spot in ((1.2, -1.5), (-1.8, 0.4), (0.3, 0.45)):  # outside, near the ring, within it
        lost = masked(with_star(made.observation, *spot, 20.0), system)
        distance = np.hypot(x - spot[0], y - spot[1])
        assert lost[distance < 0.2].all() and not lost[distance > 1.1].any()


def test_nothing_is_masked_where_there_is_nothing(system):
    assert not masked(system[0].observation, system).any()


def test_a_lens_that_is_wrong_masks_no_arcs(system):
    """Its residuals are everywhere, which is no sign of a neighbour."""
    made, _ = system
    wrong = {**made.truth, "Rein": 0.8 if made.truth["Rein"] > 1.5 else 2.2}
    bright = made.noiseless > 0.3 * made.noiseless.max()
    assert masked(made.observation, system, wrong)[bright].mean() < 0.1


def test_a_knot_of_the_source_is_not_foreign():
    """Something left over on top of what is twice as bright is the prior's fault; the same off the arcs is not."""
    residual = np.zeros((40, 40))
    residual[20, 20] = 30.0
    used, arcs = np.ones((40, 40), bool), np.full((40, 40), 10.0)
    assert not foreign(residual, arcs, used, 0.1, (0, -0.9)).any()
    assert foreign(residual, 0 * arcs, used, 0.1, (0, -0.9))[20, 20]
    assert not foreign(residual, 0 * arcs, used, 0.1, (0.05, 0.05)).any()  # the lens galaxy's own core
    assert not foreign(-residual, 0 * arcs, used, 0.1, (0, -0.9)).any()
