"""lenstronomy (Birrer & Amara 2018): EPL, SIE, SHEAR and MULTIPOLE, for x to the right, row 0 at the bottom.

theta_E = Rein (both on the intermediate axis), gamma = t + 1, (e1, e2) = (1 - q)/(1 + q) (cos 2 phi, sin 2 phi),
gamma1 = gamma_1, gamma2 = gamma_2; MULTIPOLE has our potential r a_m/(1 - m^2) cos m(varphi - phi_m), a_m in arcsec.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import BlindlensError
from .mass import Mass, Profiles, assembled, axes, ellipticity


def to_lenstronomy(p: Mapping[str, Any]) -> Profiles:
    """`lens_model_list` and `kwargs_lens` of blindlens's parameters; the source position is not among them.

    Raises BlindlensError for missing parameters and for mass without a counterpart.
    """
    lens = Mass.of(p)
    centre = {"center_x": lens.x0, "center_y": lens.y0}
    e1, e2 = ellipticity(lens.q, lens.phi)
    slope = {} if lens.t is None else {"gamma": lens.t + 1}
    names, kwargs = (
        ["SIE" if lens.t is None else "EPL"],
        [{"theta_E": lens.Rein, **slope, "e1": e1, "e2": e2, **centre}],
    )
    if lens.shear is not None:
        names.append("SHEAR")
        kwargs.append({"gamma1": lens.shear[0], "gamma2": lens.shear[1], "ra_0": 0.0, "dec_0": 0.0})
    for m, (a, phi) in lens.multipoles.items():
        names.append("MULTIPOLE")
        kwargs.append({"m": m, "a_m": a, "phi_m": phi, **centre})
    return names, kwargs


def from_lenstronomy(names: Sequence[str], kwargs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """blindlens's parameters of EPL (or SIE), SHEAR (or SHEAR_GAMMA_PSI) and MULTIPOLE profiles.

    Raises BlindlensError for other profiles, a shear about another point than (0, 0), and multipoles elsewhere than the
    power law.
    """
    main, shears, multipoles = [], [], []
    for name, k in zip(names, kwargs, strict=True):
        x, y = k.get("center_x", 0.0), k.get("center_y", 0.0)
        if name in ("EPL", "SIE"):
            t = k["gamma"] - 1 if name == "EPL" else None
            main.append(Mass(x, y, *axes(k["e1"], k["e2"]), k["theta_E"], t))
        elif name in ("SHEAR", "SHEAR_GAMMA_PSI"):
            if np.any(k.get("ra_0", 0.0)) or np.any(k.get("dec_0", 0.0)):
                raise BlindlensError("the lenstronomy lens has a shear about another point than (0, 0); move it there")
            if name == "SHEAR":
                shears.append((k["gamma1"], k["gamma2"]))
            else:
                turned = 2 * k["psi_ext"]
                shears.append((k["gamma_ext"] * np.cos(turned), k["gamma_ext"] * np.sin(turned)))
        elif name == "MULTIPOLE":
            multipoles.append((int(k["m"]), k["a_m"], k["phi_m"], x, y))
        else:
            raise BlindlensError(
                f"lenstronomy's {name} has no counterpart; use EPL or SIE, SHEAR or SHEAR_GAMMA_PSI, and MULTIPOLE"
            )
    return assembled("lenstronomy", main, shears, multipoles).parameters()
