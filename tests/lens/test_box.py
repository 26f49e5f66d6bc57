import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.lens.box import Box
from blindlens.lens.mass import LensModel
from blindlens.lens.parameters import LogUniform, ParameterSpace

SPACE = LensModel().space + ParameterSpace((LogUniform("flux_scale", 0.1, 10.0),))
BOX = Box(SPACE)


def test_a_vector_and_normal_coordinates_say_the_same():
    eta = jax.random.normal(jax.random.key(0), (50, SPACE.size))
    v = BOX.vector(eta)
    for name, value in SPACE.from_normal(eta).items():
        np.testing.assert_allclose(BOX.params(v)[name], value, rtol=1e-5)
    np.testing.assert_allclose(BOX.normal(v), eta, atol=2e-3)


def test_the_prior_is_uniform_between_the_walls():
    v = BOX.vector(jax.random.normal(jax.random.key(1), (4000, SPACE.size)))
    low, high = BOX.ends()
    share = np.asarray((v - low) / (high - low))
    # Kolmogorov-Smirnov at 1 in 10,000 a coordinate; control: the flux itself is not uniform, its logarithm is
    ranks = (np.arange(4000) + 0.5) / 4000
    assert np.abs(np.sort(share, 0) - ranks[:, None]).max() < 2.2 / np.sqrt(4000)
    flux = np.sort((np.asarray(BOX.params(v)["flux_scale"]) - 0.1) / 9.9)
    assert np.abs(flux - ranks).max() > 0.2


def test_a_prior_that_is_no_box_is_refused():
    with pytest.raises(BlindlensError, match="q must have a uniform prior"):
        Box(LensModel(disc=True).space).ends()


def test_walls_stop_amplitudes_and_angles_come_round():
    v = BOX.vector(jnp.zeros(SPACE.size) + 0.3)
    names = list(SPACE.names)
    assert BOX.inside(v)
    for name, value in (("q", 0.5), ("Rein", 3.0), ("a_3", -1e-4), ("flux_scale", np.log(20.0))):
        assert not BOX.inside(v.at[names.index(name)].set(value)), name
    for name, period in (("phi", np.pi), ("phi_3", 2 * np.pi / 3)):
        i = names.index(name)
        turned = v.at[i].add(2 * period)
        assert BOX.inside(turned)
        np.testing.assert_allclose(BOX.wrapped(turned), v, atol=1e-5)
        assert 0 <= float(BOX.wrapped(v.at[i].set(-0.1))[i]) < period
