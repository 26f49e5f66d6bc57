"""A lens's mass in parts: what the conversions to other programs have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import BlindlensError

BESIDE = {"xs", "ys", "flux_scale", "source_fov", "noise_scale"}
"""Parameters that are no part of the mass; those of the lens light have _light in their names."""
SAME_PLACE = 1e-6
"""Arcsec within which two centres are one."""

Profiles = tuple[list[str], list[dict[str, Any]]]
"""Names of profiles and their keyword arguments."""


class Mass(NamedTuple):
    """Elliptical power law (t None: isothermal), external shear about (0, 0), circular multipoles {m: (a_m, phi_m)}.

    Names, units and angles as in lens/mass.py; numbers or arrays of one shape.
    """

    x0: Any
    y0: Any
    q: Any
    phi: Any
    Rein: Any
    t: Any = None
    shear: tuple[Any, Any] | None = None
    multipoles: Mapping[int, tuple[Any, Any]] = {}

    @staticmethod
    def of(p: Mapping[str, Any]) -> "Mass":
        """From blindlens's parameters. BlindlensError for missing ones, and mass that has no counterpart elsewhere."""
        orders = sorted(int(n[2:]) for n in p if n.startswith("a_") and n[2:].isdigit())
        wanted = ["x0", "y0", "q", "phi", "Rein"] + [f"phi_{m}" for m in orders]
        wanted += ["gamma_1", "gamma_2"] if {"gamma_1", "gamma_2"} & set(p) else []
        if missing := [name for name in wanted if name not in p]:
            raise BlindlensError(f"a lens cannot be converted without {missing[0]}; give it as well")
        known = {*wanted, "t", *(f"a_{m}" for m in orders)} | BESIDE
        if foreign := [name for name in p if name not in known and "_light" not in name]:
            raise BlindlensError(f"{foreign[0]} has no counterpart in other programs' power laws; leave it out")
        return Mass(
            *(p[name] for name in ("x0", "y0", "q", "phi", "Rein")),
            t=p.get("t"),
            shear=(p["gamma_1"], p["gamma_2"]) if "gamma_1" in p else None,
            multipoles={m: (p[f"a_{m}"], p[f"phi_{m}"]) for m in orders},
        )

    def parameters(self) -> dict[str, Any]:
        """As blindlens names them: phi in [0, pi), a_m >= 0 and phi_m in [0, 2 pi / m)."""
        p = {"x0": self.x0, "y0": self.y0, "q": self.q, "phi": self.phi % np.pi, "Rein": self.Rein}
        p |= {} if self.t is None else {"t": self.t}
        p |= {} if self.shear is None else {"gamma_1": self.shear[0], "gamma_2": self.shear[1]}
        for m, (a, phi) in sorted(self.multipoles.items()):
            # cos m(x - phi) changes its sign when phi turns by pi / m
            p |= {f"a_{m}": np.abs(a), f"phi_{m}": (phi + np.where(np.less(a, 0), np.pi / m, 0)) % (2 * np.pi / m)}
        return {name: value if np.ndim(value) else float(value) for name, value in p.items()}


def ellipticity(q: Any, phi: Any) -> tuple[Any, Any]:
    """(1 - q)/(1 + q) (cos 2 phi, sin 2 phi)."""
    e = (1 - q) / (1 + q)
    return e * np.cos(2 * phi), e * np.sin(2 * phi)


def axes(e1: Any, e2: Any) -> tuple[Any, Any]:
    """(q, phi) of the two ellipticities, phi in radians."""
    e = np.hypot(e1, e2)
    if np.any(e >= 1):
        raise BlindlensError(f"ellipticities must lie within the unit circle, unlike ({e1}, {e2})")
    return (1 - e) / (1 + e), np.arctan2(e2, e1) / 2


def assembled(program: str, main: Sequence[Mass], shears: Sequence[tuple], multipoles: Sequence[tuple]) -> Mass:
    """One lens of one power law, at most one shear, and multipoles (m, a_m, phi_m, x, y) at the power law's centre.

    BlindlensError, which names the program, for anything else.
    """
    if len(main) != 1 or len(shears) > 1:
        raise BlindlensError(
            f"the {program} lens has {len(main)} power laws and {len(shears)} shears; take one, and one at most"
        )
    (mass,) = main
    orders = [m for m, *_ in multipoles]
    if min(orders, default=2) < 2 or len(set(orders)) < len(orders):
        raise BlindlensError(f"the {program} lens has multipoles of orders {orders}; take each from 2 on once")
    for m, _, _, x, y in multipoles:
        if np.any(np.hypot(x - mass.x0, y - mass.y0) > SAME_PLACE):
            raise BlindlensError(f"the {program} lens has its m = {m} multipole off the power law's centre; move it")
    return mass._replace(
        shear=shears[0] if shears else None, multipoles={m: (a, phi) for m, a, phi, _, _ in multipoles}
    )
