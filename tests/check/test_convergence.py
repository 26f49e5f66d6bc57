"""r_hat and ESS say what they should on chains whose state is known."""

import numpy as np
import pytest

from blindlens.check.convergence import convergence_warnings, ess, r_hat


def autoregressive(rho: float, chains: int, length: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.empty((chains, length))
    x[:, 0] = rng.normal(size=chains)
    for i in range(1, length):
        x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return x


def test_independent_draws():
    draws = autoregressive(0.0, 4, 1000)
    assert r_hat(draws) < 1.005 and ess(draws) == pytest.approx(4000, rel=0.15)


def test_ess_of_an_autoregressive_chain():
    draws = autoregressive(0.8, 4, 5000)
    assert ess(draws) == pytest.approx(20000 * (1 - 0.8) / (1 + 0.8), rel=0.2)


@pytest.mark.parametrize("kind", ["shift", "scale", "trend"])
def test_disagreement_is_seen(kind):
    draws = autoregressive(0.0, 4, 200)
    if kind == "shift":
        draws += np.arange(4)[:, None]
    elif kind == "scale":
        draws *= np.array([0.2, 1, 1, 3])[:, None]
    else:
        draws += np.linspace(0, 3, 200)
    assert r_hat(draws) > 1.05
    assert len(convergence_warnings({"q": draws, "t": autoregressive(0.0, 4, 200, 1)})) == 1


def test_a_single_chain_is_split():
    draws = autoregressive(0.0, 1, 401)
    assert r_hat(draws) < 1.03
    assert r_hat(draws + np.linspace(0, 5, 401)) > 1.5


def test_fixed_and_short_draws():
    assert r_hat(np.ones((2, 10))) == 1 and ess(np.ones((2, 10))) == 20
    assert np.isnan(r_hat(np.zeros((2, 3))))
    assert "more draws" in convergence_warnings({"q": np.zeros((2, 3))})[0]
    broken = autoregressive(0.0, 2, 50)
    broken[0, 3] = np.nan
    assert "r_hat" in convergence_warnings({"q": broken})[0]


def test_chains_that_never_moved(recwarn):
    stuck = np.repeat([[0.0], [1.0]], 8, 1)
    assert r_hat(stuck) == np.inf and not recwarn.list
    assert "do not agree" in convergence_warnings({"q": stuck})[0]
