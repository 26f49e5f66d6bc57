"""A prior learned by denoising: a network, wrapped so that it is a Denoiser."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .. import storage
from ..errors import BlindlensError
from .checkpoint import load_arrays
from .denoiser import Denoiser
from .networks import NETWORKS

ROUNDS, FALL, DESCENT = 3, 8.0, 3
"""How `sample` comes to p_sigma_max: how often down and up again, by which factor, in how many steps."""


class Span(NamedTuple):
    """What a network was trained for: sd of the pixels in model units, smallest and largest noise."""

    sd: float
    sigma_min: float
    sigma_max: float


def edm(network: Any, x: Array, sigma: Array, span: Span) -> Array:
    """D = [c_skip + (1 - c_skip) G] x + c_out F (`networks.compact`); one image."""
    s2, v = sigma**2, span.sd**2
    c_skip, c_in = v / (s2 + v), jax.lax.rsqrt(s2 + v)
    F, G = network(c_in * x, jnp.log(sigma / span.sd))
    return (c_skip + (1 - c_skip) * G) * x + sigma * span.sd * c_in * F


def ve(network: Any, x: Array, sigma: Array, span: Span) -> Array:
    """D = x + sigma F(x, t), t = log(sigma / sigma_min) / log(sigma_max / sigma_min) (Song et al. 2021); one image."""
    t = jnp.log(sigma / span.sigma_min) / np.log(span.sigma_max / span.sigma_min)
    return x + sigma * network(x, t)


PRECONDITIONING = {"edm": edm, "ve": ve}
"""How a denoiser is made of a network."""


def edm_weight(sigma: Array, span: Span) -> Array:
    """1 / c_out^2 = 1 / sigma^2 + 1 / sd^2: the inverse error of the best linear denoiser of white pixels."""
    return 1 / sigma**2 + 1 / span.sd**2


def ve_weight(sigma: Array, span: Span) -> Array:
    """1 / sigma^2: the error of D is then that of F against -eps, as score_models trains."""
    return 1 / sigma**2


WEIGHTS = {"edm": edm_weight, "ve": ve_weight}
"""What |D - x|^2 is multiplied by in training, for the same networks."""


class ScorePrior(Denoiser):
    """D(x_t, sigma) of a trained network; noise below sigma_min or above sigma_max is taken to be that.

    name, n, scale, offset: as for every Denoiser. about: what the file says of its training.
    """

    network: Any
    span: Span = eqx.field(static=True)
    preconditioning: str = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    offset: float = eqx.field(static=True)
    n: int = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __call__(self, x_t: Array, sigma: Array | float) -> Array:
        noise = jnp.clip(jnp.asarray(sigma, x_t.dtype), self.span.sigma_min, self.span.sigma_max)
        denoise = PRECONDITIONING[self.preconditioning]
        if x_t.ndim == 2:
            return denoise(self.network, x_t, noise, self.span)
        flat = x_t.reshape(-1, self.n, self.n)
        each = jnp.broadcast_to(noise, x_t.shape[:-2]).ravel()
        return jax.vmap(lambda x, s: denoise(self.network, x, s, self.span))(flat, each).reshape(x_t.shape)

    def sample(self, key: Array, shape: tuple[int, ...] = (), steps: int = 40, rho: float = 7.0) -> Array:
        """Draws from the prior by the probability-flow ODE: Heun's method on the ladder of Karras et al. 2022.

        It starts at p_sigma_max = p * N(0, sigma_max^2), not at the noise alone: even where sigma_max exceeds every
        galaxy's norm, its brightness shows in the noise and would be lost. Going down to sigma_max / FALL and putting
        the noise back (Xu et al. 2023, arXiv:2306.14878) keeps p_sigma_max; each of ROUNDS times shortens the distance
        from it by about sd / sigma_max, sd the prior's in its widest direction.

        2 steps - 1 + 2 ROUNDS DESCENT calls of the network; the same key and shape give the same draws.
        """
        start, *again = jax.random.split(key, 1 + ROUNDS)
        shape, top = (*shape, self.n, self.n), self.span.sigma_max
        x = top * jax.random.normal(start, shape)
        for key in again:
            x = self._flow(x, top * FALL ** (-jnp.arange(DESCENT + 1) / DESCENT))
            x = x + top * math.sqrt(1 - FALL**-2) * jax.random.normal(key, shape)
        low, high = self.span.sigma_min ** (1 / rho), top ** (1 / rho)
        ladder = (high + jnp.linspace(0, 1, steps) * (low - high)) ** rho
        return self(self._flow(x, ladder), ladder[-1])

    def _flow(self, x: Array, ladder: Array) -> Array:
        """dx/d sigma = (x - D) / sigma down the ladder by Heun's method."""

        def step(x, sigmas):
            now, then = sigmas
            slope = (x - self(x, now)) / now
            ahead = x + (then - now) * slope
            return x + (then - now) / 2 * (slope + (ahead - self(ahead, then)) / then), None

        return jax.lax.scan(step, x, (ladder[:-1], ladder[1:]))[0]

    def save(self, path: Path, about: dict[str, Any] | None = None, half: bool = False) -> None:
        """Write safetensors, atomically; half: weights in half precision. about: JSON-able, e.g. how it was trained."""
        dtype = np.float16 if half else np.float32
        header = {
            "kind": "score",
            "name": self.name,
            "network": next(k for k, (cls, *_) in NETWORKS.items() if isinstance(self.network, cls)),
            "network_config": self.network.config.model_dump(mode="json"),
            "span": self.span._asdict(),
            "scale": self.scale,
            "offset": self.offset,
            "n": self.n,
            "about": about or {},
        }
        storage.save_arrays(path, {k: v.astype(dtype) for k, v in named_arrays(self.network).items()}, header)

    @staticmethod
    def load(path: Path) -> "ScorePrior":
        """Read what `save` wrote. BlindlensError for a file that is corrupt, of another kind or another network."""
        arrays, header = load_arrays(path)
        if header.get("kind") != "score":
            raise BlindlensError(f"{path} is not a score prior (its kind is {header.get('kind')!r})")
        if header["network"] not in NETWORKS:
            raise BlindlensError(
                f"{path} needs a network {header['network']!r}; this version has {', '.join(NETWORKS)}"
            )
        cls, config, preconditioning = NETWORKS[header["network"]]
        blank = cls.init(jax.random.key(0), config.from_mapping(header["network_config"], str(path)))
        return ScorePrior(
            with_arrays(blank, arrays, str(path)),
            Span(**header["span"]),
            preconditioning,
            float(header["scale"]),
            float(header["offset"]),
            int(header["n"]),
            header["name"],
        )


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """A pytree's arrays by the path that leads to them, e.g. "down.0.1.conv_1.weight"."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {_dotted(path): np.asarray(leaf) for path, leaf in leaves}


def with_arrays(tree: Any, arrays: dict[str, np.ndarray], origin: str) -> Any:
    """The pytree with the arrays of those names in place of its own, in its types; BlindlensError if they don't fit."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(tree)
    wanted = {_dotted(path): leaf for path, leaf in paths}
    odd = sorted(wanted.keys() ^ arrays.keys()) or [k for k, v in wanted.items() if v.shape != arrays[k].shape]
    if odd:
        raise BlindlensError(f"{origin} does not fit this network ({odd[0]} is missing, unknown or of another shape)")
    leaves = [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree_util.tree_unflatten(treedef, leaves)


def _dotted(path: tuple) -> str:
    return ".".join(str(getattr(part, "name", getattr(part, "idx", getattr(part, "key", part)))) for part in path)
