"""Where a system's truth lies among its draws, in numbers that say something about lens and source."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from ..check.convergence import ess
from ..check.summaries import source_summaries
from ..lens.parameters import ParameterSpace
from ..lens.simulate import System
from ..posterior import Posterior
from .systems import FEWEST, Setting


class Vectors(NamedTuple):
    """A system's truth (d,), the draws that are ranked (S, d), and those set `aside` (R, d).

    worth: how many independent draws all of the ranked chains are worth in their worst coordinate. S is that, FEWEST at
    least.
    """

    truth: np.ndarray
    aside: np.ndarray
    draws: np.ndarray
    worth: float

    def widened(self, factor: float) -> "Vectors":
        """All draws moved away from their mean."""
        middle = np.concatenate([self.aside, self.draws]).mean(0)
        aside, draws = (middle + factor * (part - middle) for part in (self.aside, self.draws))
        return self._replace(aside=aside, draws=draws)


def vectors(study: Setting, made: System, posterior: Posterior, rng: Generator) -> dict[str, Vectors]:
    """By group: the lens in normal coordinates, the source in a few numbers, and both.

    Half of the chains are ranked, whichever: they begin at modes in the order of their probability. Of a single chain,
    its first half.
    """
    chains, space = posterior.lens.sizes["chain"], study.lens.space
    draws = {name: posterior.lens[name].values for name in space.names}
    eta, true = normal(space, draws), normal(space, {name: made.truth[name] for name in space.names})
    fov = study.config.systems.source_fov

    def summarised(images: np.ndarray, lens: dict[str, Any]) -> np.ndarray:
        at = np.stack([np.ravel(lens["xs"]), np.ravel(lens["ys"])], 1)
        return np.stack(list(source_summaries(images, fov, at, study.mean, study.components).values()), 1)

    images = posterior.source.values
    x = summarised(images.reshape(-1, *images.shape[-2:]), draws).reshape(*eta.shape[:2], -1)
    truth = np.concatenate([true, summarised(made.source[None], made.truth)[0]])
    values = np.concatenate([eta, x], -1)
    if chains > 1:
        aside, ranked = np.split(rng.permutation(values), [chains // 2])
    else:
        ranked, aside = np.split(values, [values.shape[1] // 2], 1)
    worth = np.array([effective(ranked[..., i]) for i in range(truth.size)])
    flat, other = (part.reshape(-1, truth.size) for part in (ranked, aside))
    groups = {"lens": slice(true.size), "source": slice(true.size, None), "both": slice(None)}
    out = {}
    for name, part in groups.items():
        least = min(float(worth[part].min()), len(flat))
        step = max(1, round(len(flat) / max(least, FEWEST)))
        out[name] = Vectors(truth[part], other[:, part], flat[::step, part], least)
    return out


def effective(draws: np.ndarray) -> float:
    """Effective sample size of draws (chain, draw); chains that never moved are worth a draw each."""
    return float(len(draws)) if not np.ptp(draws, 1).any() else ess(draws)


def normal(space: ParameterSpace, lens: Mapping[str, Any]) -> np.ndarray:
    """Normal coordinates (..., d) of lens parameters."""
    return np.asarray(space.to_normal({name: jnp.asarray(value) for name, value in lens.items()}), np.float64)


def coordinates(space: ParameterSpace) -> list[str]:
    """Names of the normal coordinates: a pair of an amplitude and an angle has two of its own."""
    names = []
    for block in space.blocks:
        if block.size == len(block.names) == 1:
            names += block.names
        else:
            names += [f"{' '.join(block.names)} ({part})" for part in ("cos", "sin")]
    return names


def summaries(components: int) -> list[str]:
    """Names of the numbers that a source is judged by."""
    return ["flux", "centroid_x", "centroid_y", "r50", *(f"component_{i}" for i in range(components))]
