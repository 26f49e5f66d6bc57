"""Augmentation keeps what it says it keeps, and changes what it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from pydantic import ValidationError
from tng_files import gaussian

from blindlens.prior.data import Augmentation, augment
from blindlens.prior.data.augmentation import turned

N = 32
RNG = np.random.default_rng(0)
apply = jax.jit(augment, static_argnums=2)


def radius(images):
    """Root mean square radius about the stamp's centre, pixels."""
    axis = np.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    r2 = axis[:, None] ** 2 + axis**2
    return np.sqrt((images * r2).sum((-1, -2)) / images.sum((-1, -2)))


def elongated(angle, zoom=1.0):
    """A Gaussian of 3.5 x 1.8 pixels, long side at `angle` from +x."""
    axis = np.arange(N) - (N - 1) / 2
    x, y = np.cos(angle) * axis + np.sin(angle) * axis[:, None], np.cos(angle) * axis[:, None] - np.sin(angle) * axis
    return np.exp(-(x**2 / 3.5**2 + y**2 / 1.8**2) / 2 / zoom**2)


def test_nothing_asked_nothing_done():
    images = RNG.random((4, N, N)).astype(np.float32)
    none = Augmentation(flips=False, rotation="none")
    np.testing.assert_array_equal(apply(jax.random.key(0), images, none), images)


def test_flips_and_quarter_turns_are_exact_and_all_eight_occur():
    image = RNG.random((N, N)).astype(np.float32)
    eight = [np.rot90(m, k) for m in (image, image[::-1]) for k in range(4)]
    out = np.asarray(apply(jax.random.key(1), jnp.tile(image, (400, 1, 1)), Augmentation()))
    which = [next(i for i, e in enumerate(eight) if np.array_equal(e, o)) for o in out]
    counts = np.bincount(which, minlength=8)
    assert ((counts - 50) ** 2 / 50).sum() < 24.3  # chi2 of 7 degrees of freedom, p = 0.001
    only = np.asarray(apply(jax.random.key(1), jnp.tile(image, (40, 1, 1)), Augmentation(rotation="none")))
    assert len({o.tobytes() for o in only}) == 4


def test_any_turn_keeps_flux_and_radius():
    images = np.stack([gaussian((N, N), 2.0, 4, 3) + 0.5 * gaussian((N, N), 1.5, -4, 2)] * 64)
    out = np.asarray(apply(jax.random.key(2), images, Augmentation(rotation="any")), float)
    np.testing.assert_allclose(out.sum((1, 2)), images.sum((1, 2)), rtol=1e-3)
    np.testing.assert_allclose(radius(out), radius(images), rtol=2e-3)
    angles = np.angle([(o * np.exp(1j * np.arctan2(*np.mgrid[-15.5:16, -15.5:16]))).sum() for o in out])
    assert np.histogram(angles, 8, (-np.pi, np.pi))[0].min() > 0  # every direction


def test_zoom_keeps_surface_brightness():
    """Flux goes with z^2 and radius with z; between the bounds, log-uniform."""
    images = np.stack([gaussian((N, N), 3.0)] * 256)
    a = Augmentation(rotation="any", zoom=(0.5, 1.2))
    out = np.asarray(apply(jax.random.key(3), images, a), float)
    # A Gaussian seen with pixels of its own: the pixels' variance, 1/12 each way, does not shrink with it.
    z2 = (radius(out) ** 2 - 1 / 6) / (radius(images) ** 2 - 1 / 6)
    np.testing.assert_allclose(out.sum((1, 2)) / images.sum((1, 2)), z2, rtol=5e-3)
    u = np.log(np.sqrt(z2) / 0.5) / np.log(1.2 / 0.5)
    assert -0.01 < u.min() < 0.03 and 0.97 < u.max() < 1.01
    assert abs(np.sort(u) - (np.arange(256) + 0.5) / 256).max() < 1.95 / 16  # Kolmogorov, p = 0.001
    assert abs(np.sort(u**2) - (np.arange(256) + 0.5) / 256).max() > 1.95 / 16  # and the test can fail


def test_flux_factor():
    images = np.stack([gaussian((N, N), 3.0)] * 256)
    a = Augmentation(rotation="none", flux=(0.25, 4.0))
    ratio = np.asarray(apply(jax.random.key(4), images, a)).sum((1, 2)) / images.sum((1, 2))
    u = np.log(ratio / 0.25) / np.log(16)
    assert abs(np.sort(u) - (np.arange(256) + 0.5) / 256).max() < 1.95 / 16


@pytest.mark.parametrize("angle", [0.3, 1.0, -0.7])
def test_turned_by_the_angle_it_says(angle):
    """Against the same ellipse drawn at that angle; linear interpolation fails, and so does the wrong sense."""
    expected = elongated(0.2 + angle)
    out = turned(jnp.asarray(elongated(0.2)), angle, 1.0)
    assert np.abs(out - expected).max() < 3e-3
    for order, sense in ((1, 1), (3, -1)):
        other = scipy.ndimage.rotate(elongated(0.2), -np.rad2deg(sense * angle), reshape=False, order=order)
        assert np.abs(other - expected).max() > 1e-2
    same = scipy.ndimage.rotate(elongated(0.2), -np.rad2deg(angle), reshape=False, order=3)
    np.testing.assert_allclose(out, same, atol=1e-3)


def test_shrinking_does_not_alias():
    """White noise shrunk to 1/2 loses at least the variance that averaging would take, most of it."""
    noise = RNG.normal(size=(64, 64)).astype(np.float32)
    assert np.asarray(turned(noise, 0.0, 0.55))[20:44, 20:44].std() < 0.75
    np.testing.assert_allclose(turned(noise, 0.0, 1.0), noise, atol=1e-5)  # the control: no zoom, nothing lost


def test_beyond_the_stamp_light_fades():
    """A flat sky turned by 45 degrees: as bright inside, continuous and falling towards the corners, never an edge."""
    out = np.asarray(turned(jnp.ones((N, N)), np.pi / 4, 1.0))
    assert out.min() > 0 and out[0, 0] < 0.15
    assert np.abs(np.diff(np.diagonal(out))).max() < 0.4
    np.testing.assert_allclose(out[8:-8, 8:-8], 1, atol=1e-5)
    assert (np.asarray(turned(jnp.asarray(np.pad(np.ones((4, 4)), 14)), 0.5, 0.8))[[0, -1]] < 1e-6).all()


def test_refusals():
    for wrong in ({"zoom": (0.3, 1)}, {"zoom": (1, 2)}, {"zoom": (1.1, 0.9)}, {"flux": (0, 1)}, {"rotation": "some"}):
        with pytest.raises(ValidationError):
            Augmentation(**wrong)
    with pytest.raises(ValidationError):
        Augmentation(flip=True)
