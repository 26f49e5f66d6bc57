"""`convolve` is lax's convolution, and so are its derivatives, batched or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.prior.networks.convolution import convolve

rng = np.random.default_rng(0)
X, W = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 6, 5, 3), (3, 3, 3, 4)))


def by_lax(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def loss(conv):
    return lambda x, w: jnp.sum(jnp.sin(conv(x, w)))


def derivatives(conv):
    """Value; gradients in both; along a direction; gradient of that."""
    value = conv(X, W)
    slopes = jax.grad(loss(conv), (0, 1))(X, W)
    along = jax.jvp(conv, (X, W), (X**2, W**2))[1]
    twice = jax.grad(lambda x: jax.jvp(lambda x: loss(conv)(x, W), (x,), (X,))[1])(X)
    return value, *slopes, along, twice


def test_it_is_the_convolution_and_so_are_its_derivatives():
    for ours, theirs in zip(derivatives(convolve), derivatives(by_lax), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    # control: the kernel's axes exchanged, but not turned
    wrong = by_lax(jnp.cos(by_lax(X, W)), W.swapaxes(2, 3))
    assert np.abs(wrong - derivatives(by_lax)[1]).max() > 0.1


@pytest.mark.parametrize("axes", [(0, None), (1, None), (0, 0), (None, 0)])
def test_batches(axes):
    x = jnp.stack([X, 2 * X, X**2], axes[0]) if axes[0] is not None else X
    w = jnp.stack([W, -W, W**2]) if axes[1] is not None else W
    for function in (lambda conv: conv, lambda conv: jax.grad(loss(conv)), lambda conv: jax.grad(loss(conv), 1)):
        ours, theirs = (jax.vmap(function(conv), axes)(x, w) for conv in (convolve, by_lax))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
