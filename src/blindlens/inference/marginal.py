"""p(l | y) from joint draws, and how much of its width a single source hides.

    p(l | y) = ∫ p(l | y, x) p(x | y) dx ≈ (1/K) sum_i p(l | y, x_i),    (x_i, l_i) ~ p(x, l | y)

(arXiv:2511.04792: 406 joint draws, 500 NUTS samples of each). The mixture is smoother than the l_i, no wider.
"""

from typing import NamedTuple

import numpy as np
from jax import Array

from ..config import RefineConfig
from ..errors import BlindlensError
from ..lens.parameters import ParameterSpace
from ..posterior import unwrapped
from .problem import Problem
from .refine import LensDraws, lens_given_source


class Variance(NamedTuple):
    """total = within + between, the squares of a parameter's unit.

    within: mean over sources of the variance given the source; between: variance over sources of the mean given it.
    Means over S draws scatter by themselves: `between` is too large by within / (effective number of draws).
    """

    mean: float
    total: float
    within: float
    between: float


def marginal(
    keys: Array, problem: Problem, eta: Array, x: Array, a: Array, stage: RefineConfig
) -> tuple[np.ndarray, LensDraws]:
    """`stage.marginal` draws of p(l | y, x_i) for `stage.components` of the K joint draws, evenly spaced among them.

    keys: (K,). eta: (K, d), x: (K, n, n), a: (K, k): joint draws. Returns which of them were taken, (J,), and draws,
    eta (J, S, d). A joint draw's own depend on its key alone, so that a long run can be done in parts.

    Raises BlindlensError when `stage.marginal` is 0.
    """
    if stage.marginal < 1:
        raise BlindlensError("refine.marginal is 0: give the number of lenses to draw for each source")
    count = min(stage.components or len(eta), len(eta))
    chosen = np.arange(count) * len(eta) // count
    draws = lens_given_source(keys[chosen], problem, eta[chosen], x[chosen], a[chosen], stage, stage.marginal)
    return chosen, draws


def variances(space: ParameterSpace, eta: Array) -> dict[str, Variance]:
    """The law of total variance, Var l = E[Var(l | x)] + Var(E[l | x]), for each parameter in its own units.

    eta: (J, S, d). Orientations are taken next to their circular mean. Variances are divided by the number of draws.
    """
    found = {}
    for name, values in space.from_normal(eta).items():
        draws = unwrapped(name, np.asarray(values, np.float64))
        within, between = draws.var(1).mean(), draws.mean(1).var()
        found[name] = Variance(*(float(v) for v in (draws.mean(), draws.var(), within, between)))
    return found
