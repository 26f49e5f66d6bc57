"""Deflections of random lenses in the parameters of lenstronomy, PyAutoLens and COOLEST: writes conversions.npz.

Run with lenstronomy, coolest and autogalaxy (2026.7.29.1 is the last for Python 3.11) installed: python
tests/references/make_conversion_references.py. Nothing here comes from blindlens; x is to the right.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

LENSES, RAYS = 8, 60


def centre(rng) -> tuple[float, float]:
    return tuple(float(v) for v in rng.uniform(-0.3, 0.3, 2))


def disc(rng, most) -> tuple[float, float]:
    """Two components of a random direction, of size up to `most`."""
    size, turn = most * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
    return float(size * np.cos(turn)), float(size * np.sin(turn))


def draw_lenstronomy(rng, power_law):
    (x, y), (e1, e2), (g1, g2) = centre(rng), disc(rng, 0.3), disc(rng, 0.1)
    at = {"center_x": x, "center_y": y}
    main = {"theta_E": float(rng.uniform(0.7, 2)), "e1": e1, "e2": e2, **at}
    main |= {"gamma": float(rng.uniform(1.6, 2.4))} if power_law else {}
    multipoles = [{"m": m, "a_m": float(rng.choice([-1, 1]) * rng.uniform(0.003, 0.03)),
                   "phi_m": float(rng.uniform(-np.pi, np.pi)), **at} for m in (3, 4)]  # fmt: skip
    shear = {"gamma1": g1, "gamma2": g2, "ra_0": 0.0, "dec_0": 0.0}
    return ["EPL" if power_law else "SIE", "SHEAR", "MULTIPOLE", "MULTIPOLE"], [main, shear, *multipoles]


def lenstronomy_deflection(names, kwargs, x, y):
    from lenstronomy.LensModel.lens_model import LensModel

    return np.stack(LensModel(names).alpha(x, y, kwargs))


def draw_pyautolens(rng, power_law):
    where = centre(rng)
    main = {"centre": where, "ell_comps": disc(rng, 0.3), "einstein_radius": float(rng.uniform(0.7, 2))}
    main |= {"slope": float(rng.uniform(1.6, 2.4))} if power_law else {}
    (g1, g2), radius = disc(rng, 0.1), float(rng.uniform(0.5, 2))
    multipoles = [{"m": m, "centre": where, "einstein_radius": radius, "slope": 2.0, "multipole_comps": disc(rng, 0.03)}
                  for m in (3, 4)]  # fmt: skip
    names = ["PowerLaw" if power_law else "Isothermal", "ExternalShear", "PowerLawMultipole", "PowerLawMultipole"]
    return names, [main, {"gamma_1": g1, "gamma_2": g2}, *multipoles]


def pyautolens_deflection(names, kwargs, x, y):
    import autogalaxy as ag

    grid, total = ag.Grid2DIrregular(np.stack([y, x], -1)), 0.0
    for name, k in zip(names, kwargs, strict=True):
        k = {key: tuple(v) if isinstance(v, list | tuple) else v for key, v in k.items()}
        total = total + np.asarray(getattr(ag.mp, name)(**k).deflections_yx_2d_from(grid=grid).array)
    return total.T[::-1]


def draw_coolest(rng, power_law):
    x, y = centre(rng)
    main = {"theta_E": float(rng.uniform(0.7, 2)), "q": float(rng.uniform(0.5, 1)), "phi": float(rng.uniform(-90, 90)),
            "center_x": x, "center_y": y}  # fmt: skip
    main |= {"gamma": float(rng.uniform(1.6, 2.4))} if power_law else {}
    shear = {"gamma_ext": float(rng.uniform(0, 0.1)), "phi_ext": float(rng.uniform(-90, 90))}
    return ["PEMD" if power_law else "SIE", "ExternalShear"], [main, shear]


def coolest_deflection(names, kwargs, x, y):
    from coolest.api.profiles.mass import PEMD, ExternalShear

    profiles = {"PEMD": PEMD(), "SIE": PEMD(), "ExternalShear": ExternalShear()}  # its PEMD of gamma 2 is its SIE
    parts = [profiles[name].deflection(x, y, **k) for name, k in zip(names, kwargs, strict=True)]
    return np.sum(parts, axis=0)


PROGRAMS = {
    "lenstronomy": (draw_lenstronomy, lenstronomy_deflection),
    "pyautolens": (draw_pyautolens, pyautolens_deflection),
    "coolest": (draw_coolest, coolest_deflection),
}


def main():
    rng = np.random.default_rng(66)
    x, y = rng.uniform(-4, 4, (2, RAYS))
    out = {"rays": np.stack([x, y])}
    for program, (draw, deflection) in PROGRAMS.items():
        lenses = [draw(rng, power_law=k % 4 > 0) for k in range(LENSES)]
        out[f"{program}_lenses"] = np.array([json.dumps(lens) for lens in lenses])
        out[f"{program}_deflections"] = np.array([deflection(*lens, x, y) for lens in lenses])
    out["versions"] = np.array([f"{k} {version(k)}" for k in ("lenstronomy", "autogalaxy", "coolest", "numpy")])
    path = Path(__file__).with_name("conversions.npz")
    np.savez_compressed(path, **out)
    print(path.name, path.stat().st_size, "bytes", *out["versions"])


if __name__ == "__main__":
    main()
