import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaincinv

from blindlens.lens.light import gaussians, sersic, sersic_b


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_b_n_against_the_incomplete_gamma_function():
    n = np.linspace(0.36, 10, 2000)
    np.testing.assert_allclose(sersic_b(n), gammaincinv(2 * n, 0.5), atol=1e-8)
    ciotti_bertin = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2)
    assert np.abs(ciotti_bertin - gammaincinv(2 * n, 0.5)).max() > 1e-5  # control: two terms would not do


@pytest.mark.parametrize("n", [0.5, 1.0, 2.0])
def test_half_of_the_light_is_inside_the_effective_ellipse(n):
    axis = jnp.linspace(-12, 12, 2401)
    x, y = jnp.meshgrid(axis, axis)
    p = {"I_e": 1.0, "n": n, "R_e": 0.7, "q": 0.6, "phi": 0.5, "x0": 0.0, "y0": 0.0}
    image = sersic(p, x, y)
    u, v = jnp.cos(0.5) * x + jnp.sin(0.5) * y, jnp.cos(0.5) * y - jnp.sin(0.5) * x
    inside = 0.6 * u**2 + v**2 / 0.6 < 0.7**2
    assert abs(float(image[inside].sum() / image.sum()) - 0.5) < 3e-3
    assert abs(float(image[u**2 + v**2 / 0.36 < 0.7**2].sum() / image.sum()) - 0.5) > 0.05  # another convention
    np.testing.assert_allclose(sersic(p, 0.7 / np.sqrt(0.6) * jnp.cos(0.5), 0.7 / np.sqrt(0.6) * jnp.sin(0.5)), 1.0)


def test_sersic_gradients_are_finite_at_the_centre_and_right_elsewhere():
    p = {"I_e": 1.3, "n": 3.0, "R_e": 0.7, "q": 0.6, "phi": 0.5, "x0": 0.1, "y0": -0.2}
    g = jax.grad(lambda p: sersic(p, 0.1, -0.2))({k: jnp.asarray(v) for k, v in p.items()})
    assert all(np.isfinite(v) for v in g.values())
    for name in p:

        def f(s, name=name):
            return sersic(p | {name: p[name] + s}, 0.8, 0.3)

        np.testing.assert_allclose(jax.grad(f)(0.0), (f(1e-5) - f(-1e-5)) / 2e-5, rtol=1e-8, atol=1e-9)


def test_gaussians_have_flux_one_and_their_width():
    axis = jnp.linspace(-8, 8, 801)
    x, y = jnp.meshgrid(axis, axis)
    sigmas = jnp.array([0.1, 0.4, 1.0])
    images = gaussians(sigmas, 0.5, 0.3, 0.2, -0.1, x, y)
    area = (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(images.sum((1, 2)) * area, 1.0, rtol=1e-6)
    u = jnp.cos(0.3) * (x - 0.2) + jnp.sin(0.3) * (y + 0.1)
    np.testing.assert_allclose((images * u**2).sum((1, 2)) * area, sigmas**2 / 0.5, rtol=1e-6)
