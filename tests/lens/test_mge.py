"""The multi-Gaussian lens light: peak, shape and prior."""

import jax
import jax.numpy as jnp
import numpy as np

from blindlens.lens.mge import MultiGaussian


def test_components_peak_at_the_amplitude_and_have_their_widths():
    light = MultiGaussian.spanning(0.1, 2.0, 5, 3.0)
    p = {"x_light": 0.1, "y_light": -0.2, "q_light": 0.5, "phi_light": np.pi / 2}
    p = {name: jnp.asarray(value) for name, value in p.items()}
    x = jnp.asarray([[[0.1, 0.1, 0.1 + 0.1 * np.sqrt(0.5)]]])  # the centre, along the major axis, along the minor one
    y = jnp.asarray([[[-0.2, -0.2 + 0.1 / np.sqrt(0.5), -0.2]]])
    images = light.images(p, x, y)
    assert images.shape == (5, 1, 3)
    np.testing.assert_allclose(images[:, 0, 0], 3.0, rtol=1e-5)
    np.testing.assert_allclose(images[0, 0, 1:], 3 * np.exp(-0.5), rtol=1e-4)
    assert MultiGaussian.space().sample(jax.random.key(0), (4,))["q_light"].shape == (4,)
