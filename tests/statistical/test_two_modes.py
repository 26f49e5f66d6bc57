"""Two modes by construction: do samplers give them their weights?

Only an arc's middle is seen, through an aperture: the lens may lie left or right of it, an Einstein radius away, and
nothing of the lens explains the arc from between. The image is `share` of one with the lens on the left and the rest of
its mirror image: with one half of each, and all ranges symmetric, either mode has the weight 1/2 exactly; with other
shares the oracle says.

python -m pytest -m slow -s tests/statistical/test_two_modes.py
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_other_prior
from test_other_prior import FOV, gaussian

from blindlens.check.convergence import ess
from blindlens.inference.beginnings import likely_mixture
from blindlens.inference.pipeline import infer
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.observation import Observation

MIDDLE, SIGMA = 0.2, 4.0
RANGES = {"Rein": (1.1, 1.3), "q": (0.7, 1.0), "y0": (-0.1, 0.1), "ys": (-0.2, 0.2)}
LENS = LensModel(("sie",), ranges=RANGES | dict.fromkeys(("x0", "xs"), (MIDDLE - 1.8, MIDDLE + 1.8)))
TRUTH = {"x0": -1.1, "y0": 0.02, "q": 0.85, "phi": 0.3, "Rein": 1.2, "xs": -0.8, "ys": 0.05}
CONFIG = test_other_prior.CONFIG.replace(
    draws=200,
    initialise={"draws": 4000, "starts": 24, "steps": 60, "rank": 8, "tail": 1e-9, "most_rank": 64},
    renoise={"warmup": 20, "rank": 64, "unseen": 0, "krylov": 0},
)


def seen(share: float) -> Observation:
    x = gaussian(1.0).sample(jax.random.key(1), (1,))
    grid = {"shape": (14, 14), "pixel_scale": 0.4, "fov": FOV, "sigma": SIGMA}
    params = {name: jnp.array([value]) for name, value in TRUTH.items()}
    (made,) = simulate(jax.random.key(101), np.asarray(10 * x), LENS, **grid, params=params)
    whole = made.observation
    X, Y = whole.coordinates()
    mirrored = whole.image[:, -np.arange(14)]  # about the middle, which is the middle of a pixel
    np.testing.assert_allclose(X[0, -np.arange(1, 14)], 2 * MIDDLE - X[0, 1:], atol=1e-6)
    mask = (abs(X - MIDDLE) < 0.9) & (abs(Y) < 0.9)
    return replace(whole, image=share * whole.image + (1 - share) * mirrored, mask=mask)


def left(observation: Observation, method: str) -> tuple[float, float]:
    """Weight of the mode on the left, and its standard error."""
    posterior = infer(observation, gaussian(1.0), LENS, CONFIG.replace(method=method, seed=7))
    x0 = posterior.lens["x0"].values
    assert np.mean(abs(x0 - MIDDLE) < 0.2) < 0.02  # nothing between
    side = (x0 < MIDDLE).astype(float)
    count = side.size if method == "evidence" else ess(side)
    weight = side.mean()
    print(f"{method}: {weight:.3f} on the left, effective draws {count:.0f}, modes found {posterior.attrs['modes']}")
    return weight, np.sqrt(weight * (1 - weight) / count)


@pytest.fixture(scope="module")
def wanted() -> dict[float, tuple[float, float]]:
    """By share: what symmetry says, and what the oracle says."""
    half, error = left(seen(0.5), "evidence")
    assert abs(half - 0.5) < 3 * error
    return {0.5: (0.5, 0.0), 0.6: left(seen(0.6), "evidence")}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["joint", "renoise"])
def test_two_modes_have_their_weights(method, wanted):
    for share, (weight, error) in wanted.items():
        ours, own = left(seen(share), method)
        assert own < 0.08
        assert abs(ours - weight) < 3 * np.hypot(error, own)


@pytest.mark.slow
def test_without_jumps_chains_stay_where_they_began(wanted, monkeypatch):
    """Control: half of the chains begin on either side, and that is the weight that comes out."""

    def one(modes):
        mixture = likely_mixture(modes)
        return mixture._replace(log_weights=mixture.log_weights.at[1:].set(-jnp.inf))

    monkeypatch.setattr("blindlens.inference.renoise_run.likely_mixture", one)
    ours, own = left(seen(0.6), "renoise")
    weight, error = wanted[0.6]
    assert own > 0.08 or abs(ours - weight) > 3 * np.hypot(error, own)
