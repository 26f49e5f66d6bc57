"""COOLEST (Galan et al. 2023): PEMD, SIE and ExternalShear; it has no multipoles, which go into `meta`.

theta_E = Rein (both on the intermediate axis), gamma = t + 1, center_x = x0, center_y = y0 with x to the right. Angles
are degrees from +y towards -x (east of north where north is up), in (-90, 90]: phi_COOLEST = deg(phi) - 90, and the
same for phi_ext of the shear gamma_ext (cos 2 phi, sin 2 phi). A multipole in meta has a_m as here and phi_m in degrees
from +y towards -x, in (-180/m, 180/m].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import BlindlensError
from .mass import Mass, assembled


def degrees_from_y(phi: Any, fold: int = 2) -> Any:
    """Radians from +x towards +y -> degrees from +y towards -x, in (-180/fold, 180/fold]."""
    half = 180 / fold
    return half - (half - (np.degrees(phi) - 90)) % (2 * half)


def radians_from_x(degrees: Any) -> Any:
    """The inverse of `degrees_from_y`, up to whole periods."""
    return np.radians(degrees + 90)


def to_coolest(p: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]:
    """Types of mass profiles, their parameters, and the multipoles for `meta`.

    Raises BlindlensError for missing parameters and for mass without a counterpart.
    """
    lens = Mass.of(p)
    centre = {"center_x": lens.x0, "center_y": lens.y0}
    slope = {} if lens.t is None else {"gamma": lens.t + 1}
    names = ["SIE" if lens.t is None else "PEMD"]
    kwargs: list[dict] = [{"theta_E": lens.Rein, **slope, "q": lens.q, "phi": degrees_from_y(lens.phi), **centre}]
    if lens.shear is not None:
        g1, g2 = lens.shear
        names.append("ExternalShear")
        kwargs.append({"gamma_ext": np.hypot(g1, g2), "phi_ext": degrees_from_y(np.arctan2(g2, g1) / 2)})
    multipoles = [
        {"m": m, "a_m": a, "phi_m": degrees_from_y(phi, m), **centre} for m, (a, phi) in lens.multipoles.items()
    ]
    return names, kwargs, multipoles


def from_coolest(
    names: Sequence[str], kwargs: Sequence[Mapping[str, Any]], multipoles: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """blindlens's parameters of PEMD (or SIE) and ExternalShear profiles, and of multipoles from `meta`.

    Raises BlindlensError for other profiles and for multipoles elsewhere than the power law.
    """
    main, shears = [], []
    for name, k in zip(names, kwargs, strict=True):
        if name in ("PEMD", "SIE"):
            t = k["gamma"] - 1 if name == "PEMD" else None
            main.append(Mass(k["center_x"], k["center_y"], k["q"], radians_from_x(k["phi"]), k["theta_E"], t))
        elif name == "ExternalShear":
            turned = 2 * radians_from_x(k["phi_ext"])
            shears.append((k["gamma_ext"] * np.cos(turned), k["gamma_ext"] * np.sin(turned)))
        else:
            raise BlindlensError(f"COOLEST's {name} has no counterpart; use PEMD or SIE, and ExternalShear")
    parts = [(int(k["m"]), k["a_m"], radians_from_x(k["phi_m"]), k["center_x"], k["center_y"]) for k in multipoles]
    return assembled("COOLEST", main, shears, parts).parameters()
