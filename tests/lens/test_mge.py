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
    assert light.space().names == ("x_light", "y_light", "q_light", "phi_light")


def test_two_sets_share_a_centre_and_nothing_else():
    """Each set is the light of one set of its own shape; swapped shapes swap the sets."""
    one, two = MultiGaussian.spanning(0.1, 1.0, 4, 2.0), MultiGaussian.spanning(0.1, 1.0, 4, 2.0, 2)
    p = {name: two.space().sample(jax.random.key(1))[name] for name in two.space().names}
    x, y = (jnp.asarray(t[None]) for t in np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)))
    images = two.images(p, x, y)
    assert two.space().names == ("x_light", "y_light", "q_light", "phi_light", "q_light2", "phi_light2")
    other = {**p, "q_light": p["q_light2"], "phi_light": p["phi_light2"]}
    for shape, part in ((p, images[:4]), (other, images[4:])):
        np.testing.assert_allclose(part, one.images(shape, x, y), rtol=1e-6)
    assert np.abs(images[:4] - images[4:]).max() > 0.1


def test_mixing_changes_the_components_and_nothing_else():
    """The prior covariance of the image, G G^T, stays; whitened components become orthogonal, which they were not."""
    light = MultiGaussian.spanning(0.05, 2.0, 20, 3.0)
    axis = np.linspace(-2, 2, 24)
    x, y = (jnp.asarray(t[None]) for t in np.meshgrid(axis, axis))
    weight = np.random.default_rng(0).random((24, 24))
    shape = {"x_light": 0.0, "y_light": 0.0, "q_light": 0.8, "phi_light": 0.0}
    mixed = light.mixed(x, y, weight)
    p = {name: jnp.asarray(value) for name, value in (shape | {"q_light": 0.6, "x_light": 0.1}).items()}
    G, M = (np.asarray(one.images(p, x, y), float).reshape(20, -1) for one in (light, mixed))
    np.testing.assert_allclose(M.T @ M, G.T @ G, atol=1e-4 * np.abs(G.T @ G).max())

    def largest_cosine(light):
        H = (np.asarray(light.images(shape, x, y), float) * weight).reshape(20, -1)
        H = H[np.linalg.norm(H, axis=1) > 1e-2]  # the rest is smaller than the noise, and rounding
        H /= np.linalg.norm(H, axis=1, keepdims=True)
        return np.abs(H @ H.T - np.eye(len(H))).max()

    assert largest_cosine(mixed) < 0.05 and largest_cosine(light) > 0.9
