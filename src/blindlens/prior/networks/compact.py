"""`compact`: a U-Net that a CPU can bear, for galaxies whose brightness spans many orders of magnitude."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from pydantic import Field

from ...config import Stage
from ...errors import BlindlensError
from .layers import Attention, Conv, Dense

FREQUENCIES = 16
"""Sines and cosines that tell the noise level."""


class CompactConfig(Stage):
    """The network's shape; the defaults take 0.38 GFLOP a forward pass of 64 x 64 pixels and have 1.7 M parameters."""

    patch: int = Field(default=2, ge=1, description="pixels a side that enter as one")
    widths: tuple[int, ...] = Field(default=(40, 80, 160), min_length=1, description="channels, a resolution each")
    blocks: int = Field(default=1, ge=1, description="residual blocks a resolution, down and up alike")
    attention: bool = Field(default=True, description="at the lowest resolution")


class ResidualBlock(eqx.Module):
    """x + W_2 silu(a W_1 silu(x) + b), a - 1 and b linear in the noise level's embedding; W_2 starts at zero.

    Nothing is normalised: how bright a galaxy is, is what the network must know.
    """

    conv_1: Conv
    conv_2: Conv
    modulate: Dense

    @staticmethod
    def init(rng: np.random.Generator, width: int, embedding: int) -> "ResidualBlock":
        conv_2 = Conv(jnp.zeros((3, 3, width, width)), jnp.zeros(width))
        return ResidualBlock(Conv.init(rng, width, width, 3), conv_2, Dense.init(rng, embedding, 2 * width))

    def __call__(self, x: Array, e: Array) -> Array:
        gain, shift = jnp.split(self.modulate(e), 2)
        h = self.conv_1(jax.nn.silu(x)) * (1 + gain) + shift
        return x + self.conv_2(jax.nn.silu(h))


class Compact(eqx.Module):
    """F and G of D = [c_skip + (1 - c_skip) G] x_t + c_out F, for one image c_in x_t (n, n) and log(sigma / sd).

    The preconditioning is that of Karras et al. 2022 (arXiv:2206.00364), which is the best linear denoiser of pixels
    with standard deviation sd. G corrects it pixel by pixel: a core a hundred times brighter than sd is left as it is
    by G = 1, where F alone would have to be huge. The network sees x_t in units of sd and of sigma, both through asinh.

    It computes in the precision of its weights, but for the first and the last layer: faint noise on a bright core is
    below the last digit of bfloat16.
    """

    stem: Conv
    embed_1: Dense
    embed_2: Dense
    down: tuple[tuple[ResidualBlock, ...], ...]
    narrow: tuple[Dense, ...]
    attention: Attention | None
    up: tuple[tuple[ResidualBlock, ...], ...]
    widen: tuple[Dense, ...]
    head: Conv
    config: CompactConfig = eqx.field(static=True)

    @staticmethod
    def init(key: Array, config: CompactConfig | None = None) -> "Compact":
        """Random weights, not to be traced, as NumPy draws them from the key; F and G start at zero."""
        c = config or CompactConfig()
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        size = 4 * c.widths[0]

        def blocks(width: int) -> tuple[ResidualBlock, ...]:
            return tuple(ResidualBlock.init(rng, width, size) for _ in range(c.blocks))

        pairs = list(itertools.pairwise(c.widths))
        head = Conv.init(rng, c.widths[0], 2 * c.patch**2, 3)
        return Compact(
            Conv.init(rng, 2 * c.patch**2, c.widths[0], 3),
            Dense.init(rng, 2 * FREQUENCIES, size),
            Dense.init(rng, size, size),
            tuple(blocks(width) for width in c.widths),
            tuple(Dense.init(rng, 4 * a, b) for a, b in pairs),
            Attention.init(rng, c.widths[-1], 0.01) if c.attention else None,
            tuple(blocks(width) for width in c.widths),
            tuple(Dense.init(rng, b, 4 * a) for a, b in pairs),
            Conv(jnp.zeros_like(head.weight), head.bias),
            c,
        )

    def __call__(self, x: Array, log_noise: Array) -> tuple[Array, Array]:
        """F and G, (n, n) each. BlindlensError unless n is a multiple of patch 2^(resolutions - 1)."""
        p, multiple = self.config.patch, self.config.patch * 2 ** len(self.narrow)
        if x.ndim != 2 or x.shape[0] != x.shape[1] or x.shape[0] % multiple:
            raise BlindlensError(
                f"this network takes one square image with a multiple of {multiple} pixels a side, not {x.shape}"
            )
        in_sigmas = x * jnp.sqrt(1 + jnp.exp(-2 * log_noise)).astype(x.dtype)
        h = _precise(self.stem, gather_patches(jnp.arcsinh(jnp.stack([x, in_sigmas], -1)), p))
        h = h.astype(self.embed_1.weight.dtype)
        phase = log_noise * jnp.exp(jnp.linspace(math.log(0.2), math.log(8.0), FREQUENCIES))
        e = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)]).astype(h.dtype)
        e = jax.nn.silu(self.embed_2(jax.nn.silu(self.embed_1(e))))
        skips = []
        for level, blocks in enumerate(self.down):
            for block in blocks:
                h = block(h, e)
            if level < len(self.narrow):
                skips.append(h)
                h = _apply(self.narrow[level], gather_patches(h, 2))
        if self.attention is not None:
            h = self.attention(h)
        for level in reversed(range(len(self.up))):
            for block in self.up[level]:
                h = block(h, e)
            if level > 0:
                h = (skips.pop() + scatter_patches(_apply(self.widen[level - 1], h), 2)) / math.sqrt(2)
        out = scatter_patches(_precise(self.head, jax.nn.silu(h).astype(x.dtype)), p)
        return out[..., 0], out[..., 1]


def _precise(conv: Conv, x: Array) -> Array:
    """In the precision of x, all of it: the default on GPUs is 10 bits of mantissa."""
    with jax.default_matmul_precision("highest"):
        return jax.tree.map(lambda leaf: leaf.astype(x.dtype), conv)(x)


def _apply(dense: Dense, x: Array) -> Array:
    return x @ dense.weight.T + dense.bias


def gather_patches(x: Array, p: int) -> Array:
    """(n, n, c) to (n/p, n/p, p p c): the pixels of a patch become channels."""
    n, _, c = x.shape
    m = n // p
    return x.reshape(m, p, m, p, c).transpose(0, 2, 1, 3, 4).reshape(m, m, p * p * c)


def scatter_patches(x: Array, p: int) -> Array:
    """The inverse of `gather_patches`."""
    m, c = x.shape[0], x.shape[2] // p**2
    return x.reshape(m, m, p, p, c).transpose(0, 2, 1, 3, 4).reshape(m * p, m * p, c)
