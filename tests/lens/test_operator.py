"""The lensing operator: exact adjoint, both interpolations, both PSF methods, gradients, no extrapolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.lens.blur import SMALL, Blur
from blindlens.lens.interpolation import INTERPOLATIONS, coefficients, interpolate
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.linear import Columns, Scaled, Sum

SHAPES = [((16, 16), (3, 3)), ((15, 20), (5, 3)), ((21, 14), (7, 9))]


def random_case(seed, shape, psf_shape, supersampling, psf_method="fft"):
    rng = np.random.default_rng(seed)
    psf = rng.random(psf_shape)
    mask = rng.random(shape) > 0.2
    lens = LensModel()
    operator = LensOperator(lens, shape, 4.0 / min(shape), 12, 3.0, psf / psf.sum(), mask, supersampling, psf_method)
    return operator(lens.space.sample(jax.random.key(seed), ())), rng


@pytest.mark.parametrize(
    "psf_method", ["auto", *(pytest.param(name, marks=pytest.mark.slow) for name in ("direct", "fft"))]
)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("x64, tolerance", [(False, 1e-5), (True, 1e-12)])
def test_adjoint_of_random_lenses(x64, tolerance, interpolation, psf_method):
    with jax.enable_x64(x64):
        # every supersampling from 1 to 4, every shape; "auto" takes the FFT for these
        for case in range(4) if psf_method == "auto" else (1, 3):
            shape, psf_shape = SHAPES[case % 3]
            rng = np.random.default_rng(case)
            psf, mask, lens = rng.random(psf_shape), rng.random(shape) > 0.2, LensModel()
            operator = LensOperator(
                lens, shape, 4.0 / min(shape), 12, 3.0, psf / psf.sum(), mask, case + 1, psf_method, interpolation,
                core=3 if case % 2 else None,
            )  # fmt: skip
            params = lens.space.sample(jax.random.key(case), (13,))
            x, v = jnp.asarray(rng.normal(size=(13, 12, 12))), jnp.asarray(rng.normal(size=(13, *shape)))
            image, back = jax.jit(jax.vmap(lambda p, x, v: (operator(p) @ x, operator(p).T @ v)))(params, x, v)  # noqa: B023
            inner = jnp.sum(image * v, (1, 2)) - jnp.sum(x * back, (1, 2))
            size = jnp.linalg.norm(image.reshape(13, -1), axis=1) * jnp.linalg.norm(v.reshape(13, -1), axis=1)
            assert float(jnp.max(jnp.abs(inner) / size)) < tolerance


def test_more_rays_next_to_the_lenss_centre():
    lens, shape, pixel = LensModel(), (21, 24), 0.15
    params = lens.space.sample(jax.random.key(0), ())
    source = jax.random.normal(jax.random.key(1), (12, 12))

    def made(**rays):
        A = LensOperator(lens, shape, pixel, 12, 3.0, interpolation="cubic", **rays)(params)
        # one image and a stack of images go different ways
        np.testing.assert_allclose(A.images(source.reshape(-1, 1))[..., 0], A @ source, atol=1e-5)
        return np.asarray(A @ source)

    mixed, coarse, fine = made(supersampling=2, core=5), made(supersampling=2), made(supersampling=5)
    y, x = (pixel * (np.abs(np.arange(n) - (n - 1) / 2) + 0.5) for n in shape)
    inside = (y[:, None] <= 0.45) & (x <= 0.45)
    assert inside.sum() == 5 * 6
    np.testing.assert_allclose(mixed, np.where(inside, fine, coarse), atol=1e-5)
    assert np.abs(fine - coarse)[inside].max() > 0.01


def test_dense_matrix_is_the_operator():
    A, rng = random_case(3, (9, 11), (3, 5), 2)
    x = jnp.asarray(rng.normal(size=A.in_shape), jnp.float32)
    np.testing.assert_allclose((A.dense() @ x.ravel()).reshape(A.out_shape), A @ x, atol=1e-5)
    np.testing.assert_allclose(A.T.dense(), A.dense().T, atol=1e-6)
    with pytest.raises(ValueError, match="maps arrays of shape"):
        _ = A @ jnp.zeros((3, 3))


@pytest.mark.parametrize("x64, tolerance", [(False, 1e-6), (True, 1e-13)])
@pytest.mark.parametrize("shape, psf_shape", SHAPES)
def test_fft_and_direct_convolution_agree(shape, psf_shape, x64, tolerance):
    with jax.enable_x64(x64):
        x = jax.random.normal(jax.random.key(0), (12, 12))
        images = [random_case(5, shape, psf_shape, 2, method)[0] @ x for method in ("fft", "direct")]
        np.testing.assert_allclose(images[0], images[1], atol=tolerance)


def test_direct_convolution_of_a_gaussian_takes_one_term():
    axis = np.arange(-4, 5)
    psf = np.exp(-(np.hypot(axis[:, None], axis) ** 2) / 4)
    blurs = [Blur(psf / psf.sum(), (20, 17), method) for method in ("auto", "fft")]
    assert blurs[0].method == "direct" and len(blurs[0].rows) == 1
    image = jax.random.normal(jax.random.key(0), (20, 17))
    np.testing.assert_allclose(blurs[0](image), blurs[1](image), atol=1e-6)


@pytest.mark.parametrize("shape", [(13, 18), (61, 50), (3, 4)])
@pytest.mark.parametrize("method", ["direct", "fft"])
def test_a_stack_is_blurred_image_by_image(shape, method):
    """Whatever its size: small ones go another way; and its gradient."""
    rng = np.random.default_rng(0)
    blur, weight = Blur(rng.random((9, 5)), shape, method), jnp.asarray(rng.random(shape))
    for r in (1, 100):
        images = jnp.asarray(rng.normal(size=(*shape, r)))
        each = jax.vmap(blur, -1, -1)
        expected = each(images) * weight[..., None]
        assert (images.size > SMALL) == (shape == (61, 50) and r == 100)
        np.testing.assert_allclose(blur.stack(images, weight), expected, atol=1e-4)
        np.testing.assert_allclose(blur.stack(images), expected / weight[..., None], rtol=1e-3, atol=1e-3)
        one = jax.grad(lambda t: jnp.sum(blur.stack(t, weight) ** 2))(images)  # noqa: B023
        other = jax.grad(lambda t: jnp.sum((each(t) * weight[..., None]) ** 2))(images)  # noqa: B023
        np.testing.assert_allclose(one, other, atol=1e-3 * float(jnp.abs(other).max()))


def test_blur_against_scipy_and_bad_kernels():
    from scipy.signal import convolve2d

    rng = np.random.default_rng(0)
    image, psf = rng.normal(size=(13, 18)), rng.random((5, 7))
    with jax.enable_x64(True):
        blurred = Blur(psf, (13, 18))(jnp.asarray(image))
    np.testing.assert_allclose(blurred, convolve2d(image, psf, "same"), atol=1e-12)
    with pytest.raises(BlindlensError, match="odd sides"):
        Blur(np.ones((4, 5)), (13, 18))
    with pytest.raises(BlindlensError, match="PSF method"):
        Blur(psf, (13, 18), "magic")


def test_bilinear_is_exact_on_planes():
    n = 8
    rows, cols = np.mgrid[:n, :n]
    plane = jnp.asarray((2.0 * rows - 0.5 * cols + 1).reshape(-1, 1), jnp.float32)
    u, v = np.random.default_rng(0).uniform(0, n - 1, (2, 200)).astype(np.float32)
    np.testing.assert_allclose(interpolate(plane, u, v, n)[:, 0], 2 * v - 0.5 * u + 1, atol=1e-4)


@pytest.mark.parametrize("interpolation, border", [("bilinear", 1), ("cubic", 2)])
def test_surface_passes_through_the_pixels_and_is_zero_outside(interpolation, border):
    n = 13
    images = np.random.default_rng(0).normal(size=(n * n, 3)).astype(np.float32)
    table = coefficients(jnp.asarray(images), n, interpolation)
    v, u = (axis.ravel() for axis in np.mgrid[:n, :n].astype(np.float32))
    np.testing.assert_allclose(interpolate(table, u, v, n, interpolation), images, atol=1e-5)
    u = np.array([-border, n - 1 + border, 3, 3, 40], np.float32)
    v = np.array([3, 3, -border, n - 1 + border, 3], np.float32)
    np.testing.assert_allclose(interpolate(table, u, v, n, interpolation), 0, atol=1e-6)


def test_cubic_is_ten_times_closer_than_bilinear_to_a_band_limited_field():
    n, rng = 32, np.random.default_rng(0)
    waves, phases = rng.uniform(-np.pi / 2, np.pi / 2, (2, 20)), rng.uniform(0, 2 * np.pi, 20)  # half of Nyquist

    def field(u, v):
        return np.cos(np.outer(u, waves[0]) + np.outer(v, waves[1]) + phases).mean(1)

    v, u = (axis.ravel() for axis in np.mgrid[:n, :n])
    image = jnp.asarray(field(u, v)[:, None], jnp.float32)
    u, v = rng.uniform(6, n - 7, (2, 2000)).astype(np.float32)  # the spline takes the light beyond the border as zero
    bilinear, cubic = (
        interpolate(coefficients(image, n, kind), u, v, n, kind)[:, 0] - field(u, v) for kind in INTERPOLATIONS
    )
    assert 10 * np.sqrt(np.mean(cubic**2)) < np.sqrt(np.mean(bilinear**2))


# bilinear images have kinks where a ray crosses a pixel's centre: the median over pixels sees past them
@pytest.mark.parametrize("interpolation, worst", [("bilinear", jnp.median), ("cubic", jnp.max)])
def test_gradient_in_all_parameters(interpolation, worst):
    with jax.enable_x64(True):
        lens = LensModel()
        psf = np.ones((3, 3)) / 9
        operator = LensOperator(lens, (24, 24), 0.2, 24, 3.0, psf, supersampling=2, interpolation=interpolation)
        r2 = jnp.sum(jnp.stack(jnp.meshgrid(*[jnp.linspace(-3, 3, 24)] * 2)) ** 2, 0)

        @jax.jit
        def image(eta):
            return operator(lens.space.from_normal(eta)) @ jnp.exp(-r2)

        for seed in range(3):
            eta = 0.7 * jax.random.normal(jax.random.key(seed), (lens.space.size,))
            exact = jax.jacfwd(image)(eta)
            for i in range(lens.space.size):
                h = 1e-6
                numeric = (image(eta.at[i].add(h)) - image(eta.at[i].add(-h))) / (2 * h)
                size = jnp.max(jnp.abs(exact[..., i]))
                assert float(worst(jnp.abs(exact[..., i] - numeric)) / size) < 1e-6


def test_gradient_is_finite_for_a_ray_at_the_lens_centre():
    lens = LensModel()
    operator = LensOperator(lens, (9, 9), 0.3, 8, 2.0, supersampling=1)
    centred = {name: jnp.zeros(()) for name in lens.space.names} | {
        "q": jnp.asarray(0.8), "Rein": jnp.asarray(1.0), "t": jnp.asarray(1.1)
    }  # fmt: skip
    gradient = jax.grad(lambda p: jnp.sum(operator(p) @ jnp.ones((8, 8))))(centred)
    assert all(np.isfinite(g) for g in gradient.values())


def test_sums_and_scales():
    A, rng = random_case(1, (10, 10), (3, 3), 1)
    G = Columns(jnp.asarray(rng.normal(size=(4, 10, 10)), jnp.float32))
    weight = jnp.asarray(rng.random((10, 10)), jnp.float32)
    H = Scaled(weight, Sum((A, G)))
    x, a = jax.random.normal(jax.random.key(0), A.in_shape), jnp.arange(4.0)
    both = jnp.concatenate([x.ravel(), a])
    np.testing.assert_allclose(H @ both, weight * (A @ x + jnp.tensordot(a, G.images, 1)), atol=1e-5)
    v = jnp.asarray(rng.normal(size=(10, 10)), jnp.float32)
    np.testing.assert_allclose(jnp.vdot(H @ both, v), jnp.vdot(both, H.T @ v), rtol=1e-4)
