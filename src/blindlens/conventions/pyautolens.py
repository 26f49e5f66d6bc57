"""PyAutoLens (Nightingale et al. 2021): PowerLaw, Isothermal, ExternalShear and PowerLawMultipole.

Pairs are (y, x): centre = (y0, x0), ell_comps = (1 - q)/(1 + q) (sin 2 phi, cos 2 phi), multipole_comps =
k_m (sin m phi_m, cos m phi_m). Its PowerLaw has kappa = (3 - slope)/(1 + q) (einstein_radius / xi)^(slope - 1) with
xi^2 = x'^2 + y'^2/q^2 along the major axis; ours, with R = q xi, is (2 - t)/2 (Rein / (sqrt(q) xi))^t. Hence

    slope = t + 1,    Rein = sqrt(q) (2 / (1 + q))^(1/t) einstein_radius,

for the isothermal t = 1 the factor 2 sqrt(q)/(1 + q). The multipole has kappa = k_m/2 (einstein_radius / r)^(slope - 1)
cos m(varphi - phi_m): slope 2 and a_m = k_m einstein_radius are ours. Shears are the same two numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import BlindlensError
from .mass import Mass, Profiles, assembled, axes, ellipticity


def intermediate(q: Any, t: Any) -> Any:
    """Rein / einstein_radius = sqrt(q) (2 / (1 + q))^(1/t)."""
    return np.sqrt(q) * (2 / (1 + q)) ** (1 / t)


def to_pyautolens(p: Mapping[str, Any]) -> Profiles:
    """Names of mass profiles (`al.mp.<name>`) and their arguments; the source position is not among them.

    Raises BlindlensError for missing parameters and for mass without a counterpart.
    """
    lens = Mass.of(p)
    centre, e = (lens.y0, lens.x0), ellipticity(lens.q, lens.phi)
    slope = {} if lens.t is None else {"slope": lens.t + 1}
    radius = lens.Rein / intermediate(lens.q, 1.0 if lens.t is None else lens.t)
    names = ["Isothermal" if lens.t is None else "PowerLaw"]
    kwargs: list[dict] = [{"centre": centre, "ell_comps": e[::-1], "einstein_radius": radius, **slope}]
    if lens.shear is not None:
        names.append("ExternalShear")
        kwargs.append({"gamma_1": lens.shear[0], "gamma_2": lens.shear[1]})
    for m, (a, phi) in lens.multipoles.items():
        k = a / lens.Rein
        names.append("PowerLawMultipole")
        comps = (k * np.sin(m * phi), k * np.cos(m * phi))
        kwargs.append({"m": m, "centre": centre, "einstein_radius": lens.Rein, "slope": 2.0, "multipole_comps": comps})
    return names, kwargs


def from_pyautolens(names: Sequence[str], kwargs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """blindlens's parameters of PowerLaw (or Isothermal), ExternalShear and PowerLawMultipole profiles.

    Raises BlindlensError for other profiles, multipoles of a slope other than 2, and multipoles elsewhere than the
    power law.
    """
    main, shears, multipoles = [], [], []
    for name, k in zip(names, kwargs, strict=True):
        y, x = k.get("centre", (0.0, 0.0))
        if name in ("PowerLaw", "Isothermal"):
            t = k["slope"] - 1 if name == "PowerLaw" else None
            q, phi = axes(*k.get("ell_comps", (0.0, 0.0))[::-1])
            main.append(Mass(x, y, q, phi, k["einstein_radius"] * intermediate(q, 1.0 if t is None else t), t))
        elif name == "ExternalShear":
            shears.append((k["gamma_1"], k["gamma_2"]))
        elif name == "PowerLawMultipole":
            if np.any(np.abs(k["slope"] - 2) > 1e-9):
                raise BlindlensError(
                    f"a PowerLawMultipole of slope {k['slope']} has no counterpart; blindlens's multipoles have slope 2"
                )
            m, (s, c) = int(k["m"]), k["multipole_comps"]
            multipoles.append((m, np.hypot(s, c) * k["einstein_radius"], np.arctan2(s, c) / m, x, y))
        else:
            raise BlindlensError(
                f"PyAutoLens's {name} has no counterpart; use PowerLaw or Isothermal, ExternalShear, PowerLawMultipole"
            )
    return assembled("PyAutoLens", main, shears, multipoles).parameters()
