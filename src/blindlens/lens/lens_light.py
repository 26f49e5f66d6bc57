"""The lens galaxy's own light: images that are linear in amplitudes with prior N(0, 1), and a shape that is sampled."""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .light import sersic
from .parameters import LogUniform, ParameterSpace, Polar, Uniform


class LensLight(eqx.Module):
    """G_l a with a ~ N(0, I); the shape's parameters are sampled beside the lens's."""

    @abc.abstractmethod
    def space(self) -> ParameterSpace:
        """Priors of the shape."""

    @abc.abstractmethod
    def images(self, p: dict[str, Array], x: Array, y: Array) -> Array:
        """Images per unit a, averaged over the rays x, y (s*s, ny, nx): (k, ny, nx), before the PSF."""

    def alike(self) -> tuple[str, ...]:
        """A parameter of each of two shapes whose exchange leaves the light and its prior as they are, if there are."""
        return ()


class SersicLight(LensLight):
    """One Sersic profile: a_1 amplitude exp(-b_n ((R / R_e)^(1/n) - 1)), R as in `sersic`.

    amplitude: surface brightness at R_e, data units: the prior sd. Sampled: x_light, y_light (arcsec), q_light,
    phi_light (radians), n_light, R_light (R_e, arcsec, log-uniform up to `outer`).
    """

    amplitude: Array
    inner: float = eqx.field(static=True)
    outer: float = eqx.field(static=True)

    def space(self) -> ParameterSpace:
        shape = (Uniform("n_light", 0.5, 8.0), LogUniform("R_light", self.inner, self.outer, "arcsec"))
        return centre_space() + ParameterSpace((ellipse(), *shape))

    def images(self, p: dict[str, Array], x: Array, y: Array) -> Array:
        names = {"x0": "x_light", "y0": "y_light", "q": "q_light", "phi": "phi_light", "n": "n_light", "R_e": "R_light"}
        profile = sersic({**{key: p[name] for key, name in names.items()}, "I_e": self.amplitude}, x, y)
        return jnp.mean(profile, 0)[None]


def centre_space() -> ParameterSpace:
    """The centre, within 0.5 arcsec of the image's."""
    return ParameterSpace((Uniform("x_light", -0.5, 0.5, "arcsec"), Uniform("y_light", -0.5, 0.5, "arcsec")))


def ellipse(suffix: str = "") -> Polar:
    """An axis ratio from 0.3 to 1 and any angle, uniform in the plane of both."""
    return Polar(f"q_light{suffix}", f"phi_light{suffix}", 0.3, 1.0, 2, "high", disc=True)


def typical(light: LensLight) -> dict[str, float]:
    """A shape that stands for all: centred, slightly flattened, every set at another angle."""
    p: dict[str, float] = {"x_light": 0.0, "y_light": 0.0}
    for k, name in enumerate(name for name in light.space().names if name.startswith("q_light")):
        p |= {name: 0.8, name.replace("q_", "phi_"): k * math.pi / 2}
    return p
