"""NCSN++ of Song et al. 2021 (arXiv:2011.13456), the paper's network; its weights may come from score_models 0.5.11."""

import functools
import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from pydantic import Field

from ...config import Stage
from ...errors import BlindlensError
from .layers import ACTIVATIONS, Attention, Combine, Conv, Dense, Fourier, GroupNorm, downsample, upsample


class NCSNppConfig(Stage):
    """The network's shape, in score_models' words; the defaults are arXiv:2511.04792's 17.1 M parameters."""

    nf: int = Field(default=64, ge=4, multiple_of=2, description="channels at full resolution, before ch_mult")
    ch_mult: tuple[int, ...] = Field(default=(1, 2, 2, 3), min_length=1, description="times nf, a resolution each")
    num_res_blocks: int = Field(default=3, ge=1, description="residual blocks a resolution; one more on the way up")
    activation_type: Literal["swish", "silu", "relu", "elu", "tanh"] = "swish"
    fir: bool = Field(default=True, description="resample with fir_kernel, else by means and repetition")
    fir_kernel: tuple[float, ...] = Field(default=(1, 3, 3, 1), min_length=2)
    skip_rescale: bool = Field(default=True, description="divide the sum of a block and its shortcut by sqrt(2)")
    progressive: Literal["none", "output_skip"] = Field(
        default="output_skip", description="output_skip: F is a sum of images of every resolution"
    )
    progressive_input: Literal["none", "input_skip"] = Field(
        default="input_skip", description="input_skip: every resolution sees the input, reduced to it"
    )
    combine_method: Literal["sum", "cat"] = Field(default="sum", description="how it sees it; cat: 18.1 M parameters")
    attention: bool = Field(default=True, description="between the two blocks at the bottom")
    fourier_scale: float = Field(default=16.0, gt=0, description="sd of the frequencies of t")
    init_scale: float = Field(default=0.01, gt=0, le=1, description="initial variance of what ends a block, times this")

    @property
    def kernel(self) -> tuple[float, ...]:
        return self.fir_kernel if self.fir else (1, 1)


class Block(eqx.Module):
    """BigGAN's residual block: (shortcut(x) + conv(act(norm(conv(act(norm(x))) + dense(e))))) / sqrt(2).

    Up and down, x and the first activation are resampled before their convolutions.
    """

    norm_0: GroupNorm
    conv_0: Conv
    dense: Dense
    norm_1: GroupNorm
    conv_1: Conv
    shortcut: Conv | None
    config: NCSNppConfig = eqx.field(static=True)
    move: Literal["stay", "up", "down"] = eqx.field(static=True)

    @staticmethod
    def init(
        rng: np.random.Generator,
        channels: int,
        out: int,
        config: NCSNppConfig,
        move: Literal["stay", "up", "down"] = "stay",
    ) -> "Block":
        return Block(
            GroupNorm.init(channels),
            Conv.init(rng, channels, out, 3),
            Dense.init(rng, 4 * config.nf, out),
            GroupNorm.init(out),
            Conv.init(rng, out, out, 3, config.init_scale),
            None if channels == out and move == "stay" else Conv.init(rng, channels, out, 1),
            config,
            move,
        )

    def __call__(self, x: Array, e: Array) -> Array:
        """x (m, m, channels), e (4 nf,) the activated embedding of t -> (m', m', out), m' = m, 2m or m/2."""
        act = ACTIVATIONS[self.config.activation_type]
        h = act(self.norm_0(x))
        if self.move != "stay":
            resample = {"up": upsample, "down": downsample}[self.move]
            x, h = resample(x, self.config.kernel), resample(h, self.config.kernel)
        h = self.conv_0(h) + self.dense(e)
        h = self.conv_1(act(self.norm_1(h)))
        x = x if self.shortcut is None else self.shortcut(x)
        return (x + h) / math.sqrt(2) if self.config.skip_rescale else x + h


class Descent(eqx.Module):
    """One resolution on the way down."""

    blocks: tuple[Block, ...]
    down: Block | None
    combine: Combine | None


class Ascent(eqx.Module):
    """One resolution on the way up; norm and head make an image of its features."""

    blocks: tuple[Block, ...]
    norm: GroupNorm | None
    head: Conv | None
    up: Block | None


class NCSNpp(eqx.Module):
    """F(x, t), one image x (n, n) in model units and t in [0, 1]; the score of p_t(x) is F / sigma(t).

    x is not scaled, t not warped: sigma enters through t alone. Trained so that F(x + sigma eps, t) is near -eps, hence
    D = x + sigma F. The modules' order is score_models' (`import_score_models`).
    """

    fourier: Fourier
    dense_0: Dense
    dense_1: Dense
    stem: Conv
    descent: tuple[Descent, ...]
    bottom_0: Block
    attention: Attention | None
    bottom_1: Block
    ascent: tuple[Ascent, ...]
    config: NCSNppConfig = eqx.field(static=True)

    @staticmethod
    def init(key: Array, config: NCSNppConfig | None = None) -> "NCSNpp":
        """Random weights, distributed as score_models'; not to be traced, as NumPy draws them from the key.

        BlindlensError for widths that GroupNorm can't part.
        """
        c = config or NCSNppConfig()
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        block = functools.partial(Block.init, rng, config=c)
        fourier = Fourier.init(rng, c.nf, c.fourier_scale)
        dense_0, dense_1 = Dense.init(rng, c.nf, 4 * c.nf), Dense.init(rng, 4 * c.nf, 4 * c.nf)
        stem, width = Conv.init(rng, 1, c.nf, 3), c.nf
        skips, descent, ascent = [width], [], []
        for level, multiple in enumerate(c.ch_mult):
            blocks, down, combine = [], None, None
            for _ in range(c.num_res_blocks):
                blocks.append(block(width, c.nf * multiple))
                width = c.nf * multiple
                skips.append(width)
            if level < len(c.ch_mult) - 1:
                down = block(width, width, move="down")
                if c.progressive_input == "input_skip":
                    combine = Combine(Conv.init(rng, 1, width, 1), c.combine_method)
                    width *= 2 if c.combine_method == "cat" else 1
                skips.append(width)
            descent.append(Descent(tuple(blocks), down, combine))
        bottom_0 = block(width, width)
        attention = Attention.init(rng, width, c.init_scale) if c.attention else None
        bottom_1 = block(width, width)
        for level, multiple in reversed(list(enumerate(c.ch_mult))):
            blocks, norm, head = [], None, None
            for _ in range(c.num_res_blocks + 1):
                blocks.append(block(width + skips.pop(), c.nf * multiple))
                width = c.nf * multiple
            if c.progressive == "output_skip" or level == 0:
                norm = GroupNorm.init(width)
                head = Conv.init(rng, width, 1, 3, c.init_scale if c.progressive == "output_skip" else 1.0)
            up = block(width, width, move="up") if level > 0 else None
            ascent.append(Ascent(tuple(blocks), norm, head, up))
        return NCSNpp(fourier, dense_0, dense_1, stem, tuple(descent), bottom_0, attention, bottom_1, tuple(ascent), c)

    def __call__(self, x: Array, t: Array | float) -> Array:
        """F, (n, n). BlindlensError unless x is square and n a multiple of 2^(resolutions - 1)."""
        multiple = 2 ** (len(self.descent) - 1)
        if x.ndim != 2 or x.shape[0] != x.shape[1] or x.shape[0] % multiple:
            raise BlindlensError(
                f"this network takes one square image with a multiple of {multiple} pixels a side, not {x.shape}"
            )
        act, kernel = ACTIVATIONS[self.config.activation_type], self.config.kernel
        x = x.astype(self.stem.weight.dtype)
        e = self.fourier(jnp.asarray(t, self.fourier.w.dtype)).astype(x.dtype)
        e = act(self.dense_1(act(self.dense_0(e))))
        image = x[..., None]
        skips = [self.stem(image)]
        for level in self.descent:
            for block in level.blocks:
                skips.append(block(skips[-1], e))
            if level.down is not None:
                h = level.down(skips[-1], e)
                if level.combine is not None:
                    image = downsample(image, kernel)
                    h = level.combine(image, h)
                skips.append(h)
        h = self.bottom_0(skips[-1], e)
        h = h if self.attention is None else self.attention(h)
        h, out = self.bottom_1(h, e), None
        for level in self.ascent:
            for block in level.blocks:
                h = block(jnp.concatenate([h, skips.pop()], -1), e)
            if level.norm is not None and level.head is not None:
                image = level.head(act(level.norm(h)))
                out = image if out is None else image + upsample(out, kernel)
            if level.up is not None:
                h = level.up(h, e)
        assert out is not None and not skips
        return out[..., 0]
