"""Layers of convolutional score networks. One image is (n, n, channels), channels last; vmap makes batches.

Initialisations are those of DDPM and of score_models 0.5.11, whose trained weights fit in here.
"""

import functools
import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...errors import BlindlensError
from .convolution import convolve

ACTIVATIONS = {"swish": jax.nn.silu, "silu": jax.nn.silu, "relu": jax.nn.relu, "elu": jax.nn.elu, "tanh": jnp.tanh}


def uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> Array:
    """Between -bound and bound. By NumPy: jax.random would compile for every shape, 17 s in all."""
    return jnp.asarray(bound * (2 * rng.random(shape, np.float32) - 1))


def glorot(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> Array:
    """Uniform of variance 2 scale / (fan_in + fan_out); the last two axes are in and out, or out and in."""
    fans = (shape[-1] + shape[-2]) * math.prod(shape[:-2])
    return uniform(rng, shape, math.sqrt(6 * scale / fans))


def constant(value: float, size: int) -> Array:
    """(size,) of one value."""
    return jnp.asarray(np.full(size, value, np.float32))


class Conv(eqx.Module):
    """k x k convolution of stride 1, padded with zeros to the same size; weight (k, k, in, out), bias (out,)."""

    weight: Array
    bias: Array

    @staticmethod
    def init(rng: np.random.Generator, channels: int, out: int, k: int, scale: float = 1.0) -> "Conv":
        return Conv(glorot(rng, (k, k, channels, out), scale), constant(0, out))

    def __call__(self, x: Array) -> Array:
        if self.weight.shape[0] == 1:
            return x @ self.weight[0, 0] + self.bias
        # on a CPU this beats sums of shifted matrix products, with and without gathered columns, in every layer
        return convolve(x[None], self.weight)[0] + self.bias


class Dense(eqx.Module):
    """W e + b, W (out, in)."""

    weight: Array
    bias: Array

    @staticmethod
    def init(rng: np.random.Generator, size: int, out: int) -> "Dense":
        return Dense(glorot(rng, (out, size)), constant(0, out))

    def __call__(self, e: Array) -> Array:
        return self.weight @ e + self.bias


class GroupNorm(eqx.Module):
    """scale (x - mean) / sqrt(variance + 1e-6) + bias over min(channels // 4, 32) groups (Wu & He 2018)."""

    weight: Array
    bias: Array

    @staticmethod
    def init(channels: int) -> "GroupNorm":
        """BlindlensError if the groups are not of equal size."""
        if channels < 4 or channels % min(channels // 4, 32):
            raise BlindlensError(
                f"{channels} channels don't part into min({channels} // 4, 32) groups; choose another nf or ch_mult"
            )
        return GroupNorm(constant(1, channels), constant(0, channels))

    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        groups = min(channels // 4, 32)

        def mean(y: Array) -> Array:
            # pixels first: the channels are contiguous, so that this sum is a vector's
            return jnp.repeat(jnp.mean(jnp.mean(y, (0, 1)).reshape(groups, -1), 1), channels // groups)

        x = x - mean(x)
        return x * (jax.lax.rsqrt(mean(x**2) + 1e-6) * self.weight) + self.bias


class Attention(eqx.Module):
    """x + W_o softmax(q k^T / sqrt(channels)) v: one head, every pixel attends to all (Vaswani et al. 2017)."""

    to_qkv: Conv
    to_out: Conv

    @staticmethod
    def init(rng: np.random.Generator, channels: int, scale: float) -> "Attention":
        def conv(out: int, scale: float) -> Conv:
            return Conv(uniform(rng, (1, 1, channels, out), scale / math.sqrt(channels)), constant(0, out))

        return Attention(conv(3 * channels, 1.0), conv(channels, scale))

    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        q, k, v = jnp.split(self.to_qkv(x).reshape(-1, 3 * channels), 3, axis=-1)
        weights = jax.nn.softmax(q @ k.T / math.sqrt(channels), -1)
        return x + self.to_out((weights @ v).reshape(x.shape))


class Combine(eqx.Module):
    """The input image, reduced, joins the features h: W x + h ("sum") or both side by side ("cat")."""

    project: Conv
    method: Literal["sum", "cat"] = eqx.field(static=True)

    def __call__(self, image: Array, h: Array) -> Array:
        x = self.project(image)
        return x + h if self.method == "sum" else jnp.concatenate([x, h], -1)


class Fourier(eqx.Module):
    """(sin 2 pi w t, cos 2 pi w t), the w drawn once from N(0, scale^2) and never trained (Tancik et al. 2020)."""

    w: Array

    @staticmethod
    def init(rng: np.random.Generator, size: int, scale: float) -> "Fourier":
        return Fourier(jnp.asarray(scale * rng.standard_normal(size // 2, np.float32)))

    def __call__(self, t: Array) -> Array:
        phase = 2 * jnp.pi * (t * jax.lax.stop_gradient(self.w))
        return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)])


def downsample(x: Array, kernel: tuple[float, ...]) -> Array:
    """Filter with the outer product of the kernel with itself, sum 1, zeros outside, and keep every second pixel.

    y_i = sum_a k_a x_(2i + p - a) along both axes, with p = len(kernel) // 2; x (n, n, channels), n even.
    """
    for axis in (0, 1):
        n, k = x.shape[axis], [a / sum(kernel) for a in reversed(kernel)]
        x = _pad(x, axis, (len(k) - 1) // 2, (len(k) - 2) // 2)
        x = _sum([a * jax.lax.slice_in_dim(x, i, i + n - 1, 2, axis) for i, a in enumerate(k)])
    return x


def upsample(x: Array, kernel: tuple[float, ...]) -> Array:
    """Zeros between the pixels, then the filter times 4; (1, 1) repeats pixels.

    Four times the transpose of `downsample` if the kernel is symmetric.
    """
    for axis in (0, 1):
        n, k = x.shape[axis], [2 * a / sum(kernel) for a in reversed(kernel)]
        before = (len(k) - 1) // 2 + 1  # zeros in front of the doubled image
        padded = _pad(x, axis, len(k), len(k))
        phases = [
            _sum(
                [
                    a * jax.lax.slice_in_dim(padded, start := len(k) + (i + phase - before) // 2, start + n, 1, axis)
                    for i, a in enumerate(k)
                    if (i + phase - before) % 2 == 0
                ]
            )
            for phase in (0, 1)
        ]
        shape = list(x.shape)
        shape[axis] = 2 * n
        x = jnp.stack(phases, axis + 1).reshape(shape)
    return x


def _sum(terms: list[Array]) -> Array:
    return functools.reduce(jnp.add, terms)


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    widths = [(before, after) if i == axis else (0, 0) for i in range(x.ndim)]
    return jnp.pad(x, widths)
