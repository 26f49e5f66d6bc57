"""The mass of a lens: a sum of components with caustics' parameters and signs, and the space of its parameters."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from ..errors import BlindlensError
from .caustics_mass import CausticsMass
from .components import Component, Parameter, Params, Setting
from .parameters import ParameterSpace
from .perturbations import Multipole, Shear
from .power_law import PowerLaw
from .subhalo import NFWSubhalo, SISSubhalo

KINDS: tuple[type[Component], ...] = (PowerLaw, CausticsMass, Shear, Multipole, SISSubhalo, NFWSubhalo)
"""What a component's name is looked up in. Parameters are ordered by kind, then as the components are listed."""
SOURCE = (Parameter("xs", -0.35, 0.35, unit="arcsec"), Parameter("ys", -0.35, 0.35, unit="arcsec"))


def component(name: str, setting: Setting) -> Component:
    """The component of that name. BlindlensError if there is none, or if the setting lacks what it needs."""
    for kind in KINDS:
        made = kind.named(name, setting)
        if made is not None:
            return made
    known = ", ".join(kind.known for kind in KINDS)
    raise BlindlensError(f"unknown mass component {name!r}: the known ones are {known}")


class LensModel(eqx.Module):
    """The mass of a lens as a sum of components, and the space of its parameters and the source position.

    mass: one main component ("epl", "sie" or "caustics:FILE"), then "shear", "multipole<m>" (m >= 2), "sis_subhalo" or
    "nfw_subhalo" as wanted, or Component objects (docs/mass_models.md). ranges: {name: (low, high)} in place of the
    default priors; angles always cover their period. z_lens, z_source: redshifts, for what is told as a mass. disc:
    amplitudes with an angle (q, a_m) are uniform in the plane of both, not by themselves. Raises BlindlensError for
    unknown components and names, impossible ranges and missing redshifts.
    """

    space: ParameterSpace
    components: tuple[Component, ...]
    mass: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        mass: Sequence[str | Component] = ("epl", "shear", "multipole3"),
        ranges: dict[str, tuple[float, float]] | None = None,
        z_lens: float | None = None,
        z_source: float | None = None,
        disc: bool = False,
    ):
        setting = Setting(dict(ranges or {}), z_lens, z_source)
        self.components = tuple(component(c, setting) if isinstance(c, str) else c for c in mass)
        self.mass = tuple(c.name for c in self.components)
        if len(set(self.mass)) < len(self.mass) or sum(c.main for c in self.components) != 1:
            mains = ", ".join(kind.known for kind in KINDS if kind.main)
            raise BlindlensError(f"a lens has exactly one of {mains}, and nothing twice, unlike {self.mass}")
        kinds = [type(c) for c in self.components]
        ranks = [KINDS.index(kind) if kind in KINDS else len(KINDS) for kind in kinds]
        ordered = [c for _, c in sorted(zip(ranks, self.components, strict=True), key=lambda pair: pair[0])]
        parameters = [*(q for c in ordered for q in c.parameters()), *SOURCE]
        names = [q.name for q in parameters]
        for name in setting.ranges:
            if name not in names:
                raise BlindlensError(f"no prior range can be set for {name!r}: the names are {names}")
        self.space = ParameterSpace(tuple(q.block(*setting.range(q), disc) for q in parameters))
        for c in self.components:
            missing = set(c.needs) - set(self.space.names)
            if missing:
                raise BlindlensError(f"{c.name} needs a main component with the parameter {sorted(missing)[0]}")

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        """The summed deflection (ax, ay), arcsec."""
        ax, ay = jnp.zeros(()), jnp.zeros(())
        for component in self.components:
            a = component.deflection(p, x, y)
            ax, ay = ax + a[0], ay + a[1]
        return ax, ay

    def ray_shoot(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        """beta = theta - alpha(theta); the source position (xs, ys) is left to the operator."""
        ax, ay = self.deflection(p, x, y)
        return x - ax, y - ay

    def jacobian(self, p: Params, x: Array, y: Array) -> Array:
        """A_ij = d beta_i / d theta_j, shape (2, 2, ...)."""
        one, zero = jnp.ones_like(x), jnp.zeros_like(x)
        columns = [jax.jvp(lambda x, y: self.ray_shoot(p, x, y), (x, y), v)[1] for v in ((one, zero), (zero, one))]
        return jnp.stack([jnp.stack(c) for c in columns], 1)

    def magnification(self, p: Params, x: Array, y: Array) -> Array:
        """1 / det A, negative where the image is mirrored."""
        a = self.jacobian(p, x, y)
        return 1 / (a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])
