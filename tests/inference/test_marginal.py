"""The mixture of conditionals, and the law of total variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_refine import small

from blindlens.config import RefineConfig
from blindlens.errors import BlindlensError
from blindlens.inference.marginal import marginal, variances
from blindlens.inference.refine import lens_given_source
from blindlens.lens.mass import LensModel


def test_variance_within_and_between_add_up():
    space = LensModel().space
    centre, within = (
        jax.random.normal(jax.random.key(0), (40, 1, 12)),
        jax.random.normal(jax.random.key(1), (40, 25, 12)),
    )
    eta = 0.1 * centre + 0.02 * within
    found = variances(space, eta)
    assert set(found) == set(space.names)
    for name, variance in found.items():
        assert variance.total == pytest.approx(variance.within + variance.between, rel=1e-12), name
    # Rein = low + (high - low) Phi(eta), with slope (high - low) phi(0) here
    slope = 1.4 / np.sqrt(2 * np.pi)
    assert found["Rein"].within == pytest.approx((0.02 * slope) ** 2, rel=0.15)
    assert found["Rein"].between == pytest.approx((0.1 * slope) ** 2, rel=0.5)
    # control: draws of different sources, mixed up, hold all their variance within
    mixed = jax.random.permutation(jax.random.key(2), eta.reshape(-1, 12)).reshape(eta.shape)
    assert variances(space, mixed)["Rein"].within > 10 * found["Rein"].within


def test_variance_of_an_orientation_that_wraps():
    space = LensModel(("sie",)).space
    values = {"x0": 0.0, "y0": 0.0, "q": 0.7, "Rein": 1.2, "xs": 0.0, "ys": 0.0}
    phi = 0.05 * jax.random.normal(jax.random.key(0), (6, 50))
    eta = space.to_normal({"phi": phi % jnp.pi, **{name: jnp.full(phi.shape, v) for name, v in values.items()}})
    assert variances(space, eta)["phi"].total == pytest.approx(float(phi.var()), rel=1e-3)


@pytest.mark.slow
def test_the_mixture_is_of_the_conditionals_of_some_of_the_joint_draws():
    problem, prior, truth, x = small()
    keys, a = jax.random.split(jax.random.key(3), 5), jnp.zeros((5, 0))
    xs = x + 0.01 * prior.sample(jax.random.key(4), (5,))
    eta = truth + 0.02 * jax.random.normal(jax.random.key(5), (5, truth.size))
    stage = RefineConfig(mass="dense", precondition=True, step=0.1, warmup=20, marginal=3, components=2)
    chosen, lens = marginal(keys, problem, eta, xs, a, stage)
    assert chosen.tolist() == [0, 2] and lens.eta.shape == (2, 3, truth.size)
    own = lens_given_source(keys[chosen], problem, eta[chosen], xs[chosen], a[chosen], stage, 3)
    np.testing.assert_array_equal(lens.eta, own.eta)
    assert float(jnp.abs(lens.eta[0] - lens.eta[1]).max()) > 1e-2
    with pytest.raises(BlindlensError, match="refine.marginal is 0"):
        marginal(keys, problem, eta, xs, a, RefineConfig())
