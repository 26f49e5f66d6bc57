"""Any lens of caustics (Stone et al. 2024) as a main component, through its JAX backend."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from ..errors import BlindlensError
from .components import Component, Parameter, Params, Setting

PREFIX = "caustics:"


def _caustics() -> Any:
    """The package, on its JAX backend. BlindlensError where it is missing or was imported for PyTorch."""
    os.environ.setdefault("CASKADE_BACKEND", "jax")
    try:
        import caustics  # pyright: ignore[reportMissingImports]
        from caustics.backend_obj import backend  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BlindlensError(
            f"lenses of caustics need its package ({error}): pip install 'blindlens[caustics]'"
        ) from None
    if backend.backend != "jax":
        raise BlindlensError("caustics runs on PyTorch here: set CASKADE_BACKEND=jax before it is imported")
    return caustics


class CausticsMass(Component):
    """alpha = lens.reduced_deflection_angle(x, y) for the dynamic parameters of a caustics lens.

    lens: a caustics ThinLens or MultiPlane, built while caustics' backend was JAX. ranges: {name: (low, high)}, the
    uniform prior of every dynamic parameter, called as in caustics, or <module>_<name> where two modules have it. A
    pair q, phi of one module needs a range for q alone, and is sampled as two ellipticities. Raises BlindlensError for
    a parameter without a range. caustics computes in the precision of the rays.
    """

    lens: Any = eqx.field(static=True)
    ranges: tuple[tuple[str, float, float], ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)
    text: str = eqx.field(static=True)
    main = True
    known = "caustics:FILE"

    def __init__(
        self, lens: Any, ranges: Mapping[str, tuple[float, float]], name: str = "caustics", text: str | None = None
    ):
        self.lens, self.name = lens, name
        self.text = str(lens) if text is None else text
        self.ranges = tuple((key, float(low), float(high)) for key, (low, high) in ranges.items())
        self.parameters()

    @classmethod
    def named(cls, name: str, setting: Setting) -> Self | None:
        if not name.startswith(PREFIX):
            return None
        path, caustics = Path(name.removeprefix(PREFIX)), _caustics()
        try:
            text = path.read_text(encoding="utf-8")
            lens = caustics.build_simulator(str(path))
        except OSError as error:
            raise BlindlensError(f"cannot read {path} ({error.strerror}); give a lens in caustics' YAML") from None
        except Exception as error:  # whatever caustics makes of what is no lens
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BlindlensError(f"{path} is no lens in caustics' YAML ({reason})") from None
        if not hasattr(lens, "reduced_deflection_angle"):
            raise BlindlensError(f"the last object of {path} is no lens: put the lens there")
        return cls(lens, setting.ranges, name, text)

    def _names(self) -> list[tuple[str, str]]:
        """(module, name) of the dynamic parameters, in caustics' order."""
        return [(next(iter(p.parents)).name, p.name) for p in self.lens.dynamic_params]

    def _called(self, module: str, name: str) -> str:
        return name if [n for _, n in self._names()].count(name) == 1 else f"{module}_{name}"

    def parameters(self) -> tuple[Parameter, ...]:
        names, ranges, found = self._names(), {key: ends for key, *ends in self.ranges}, []
        for (module, name), of in zip(names, self.lens.dynamic_params, strict=True):
            called, pair = self._called(module, name), {(module, "q"), (module, "phi")} <= set(names)
            if pair and name == "phi":
                continue
            if called not in ranges:
                raise BlindlensError(f"{self.name} has a parameter {called}: give its prior range in lens.ranges")
            angle = {"angle": self._called(module, "phi"), "fold": 2, "pole": "high", "most": 1.0}
            unit = "rad" if of.units == "radians" else "" if of.units == "unitless" else str(of.units or "")
            found.append(Parameter(called, *ranges[called], unit=unit, **(angle if pair and name == "q" else {})))
        return tuple(found)

    def deflection(self, p: Params, x: Array, y: Array) -> tuple[Array, Array]:
        values = [jnp.asarray(p[self._called(*names)], jnp.result_type(x)) for names in self._names()]
        return self.lens.reduced_deflection_angle(x, y, params=values)
