"""r_t^2, the variance that CLA and PiGDM ascribe to the source given x_t, by name.

Each maps the noise level sigma to r_t^2 in model units, where p(y | x_t) ~ N(y~; A~ x^, I + r_t^2 A~ A~^T). C is the
prior's `scale`.

cla             sigma^2: x_t alone is known (CLA as derived)
pigdm           sigma^2 / (sigma^2 + 1): the prior is N(0, I) (Song et al. 2023, PiGDM as derived)
eq12-model      sigma^2 (C^2 t^4 + 1): Eq. 12 of arXiv:2511.04792, read in the network's units
eq12-physical   sigma^2 (t^4 + 1 / C^2): the same, read in the units of surface brightness, s = C x + M
"""

from collections.abc import Callable

import equinox as eqx
from jax import Array

from ..errors import BlindlensError
from ..sampler.schedule import Schedule

Variance = Callable[[Array], Array]
"""sigma -> r_t^2: one of the named ones, or anyone's function."""

RULES: dict[str, Callable[[Array, Array, float], Array]] = {
    "cla": lambda sigma, t, C: sigma**2,
    "pigdm": lambda sigma, t, C: sigma**2 / (sigma**2 + 1),
    "eq12-model": lambda sigma, t, C: sigma**2 * (C**2 * t**4 + 1),
    "eq12-physical": lambda sigma, t, C: sigma**2 * (t**4 + 1 / C**2),
}


class NamedVariance(eqx.Module):
    """One of RULES, for a prior's C and a schedule that says what the time of a noise level is."""

    name: str = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    schedule: Schedule = eqx.field(static=True)

    def __call__(self, sigma: Array) -> Array:
        return RULES[self.name](sigma, self.schedule.time(sigma), self.scale)


def variance(name: str, scale: float, schedule: Schedule | None = None) -> Variance:
    """r_t^2 by name. scale: C; schedule: by default the paper's. BlindlensError for a name that is not in RULES."""
    if name not in RULES:
        raise BlindlensError(f"there is no r_t^2 schedule {name!r}; choose one of {', '.join(RULES)}")
    return NamedVariance(name, float(scale), schedule or Schedule())
