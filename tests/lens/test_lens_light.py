"""The lens galaxy's light as a Sersic profile."""

import jax
import jax.numpy as jnp
import numpy as np

from blindlens.lens.lens_light import SersicLight, typical
from blindlens.lens.light import sersic
from blindlens.lens.mge import MultiGaussian


def test_a_sersic_profile_has_its_amplitude_at_the_effective_radius_and_half_its_light_inside():
    light = SersicLight(jnp.asarray(3.0), 0.05, 5.0)
    assert light.space().names == ("x_light", "y_light", "q_light", "phi_light", "n_light", "R_light")
    p = {"x_light": 0.1, "y_light": -0.2, "q_light": 0.64, "phi_light": 0.0, "n_light": 1.0, "R_light": 0.5}
    p = {name: jnp.asarray(value) for name, value in p.items()}
    ends = light.images(p, jnp.asarray([[[0.1 + 0.5 / 0.8, 0.1]]]), jnp.asarray([[[-0.2, -0.2 + 0.5 * 0.8]]]))
    np.testing.assert_allclose(ends, 3.0, rtol=1e-5)
    axis = np.linspace(-6, 6, 1201)
    x, y = (jnp.asarray(t[None]) for t in np.meshgrid(axis, axis))
    image = np.asarray(light.images(p, x, y), float)[0]
    R = np.sqrt(0.64 * (np.asarray(x[0]) - 0.1) ** 2 + (np.asarray(y[0]) + 0.2) ** 2 / 0.64)
    assert abs(image[R < 0.5].sum() / image.sum() - 0.5) < 0.01
    same = sersic(dict(I_e=3.0, n=1.0, R_e=0.5, q=0.64, phi=0.0, x0=0.1, y0=-0.2), x, y)[0]
    np.testing.assert_allclose(image, same, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_finite_at_the_centre():
    light = SersicLight(jnp.asarray(1.0), 0.05, 5.0)
    p = {name: jnp.asarray(value) for name, value in {**typical(light), "n_light": 4.0, "R_light": 0.5}.items()}
    zero = jnp.zeros((1, 1, 1))
    slopes = jax.grad(lambda p: light.images(p, zero, zero).sum())(p)
    assert all(np.isfinite(value) for value in slopes.values())


def test_a_typical_shape_lies_within_the_prior():
    light = MultiGaussian.spanning(0.1, 1, 3, 1.0, 2)
    eta = light.space().to_normal({name: jnp.asarray(value) for name, value in typical(light).items()})
    assert np.isfinite(eta).all() and np.abs(eta).max() < 3
