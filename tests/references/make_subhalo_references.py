"""Deflections from lenstronomy, the references of tests/lens/test_subhalo.py: writes subhalo.npz beside itself.

Run with the `oracle` extra installed: python tests/references/make_subhalo_references.py. Nothing here comes from
blindlens; float64.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy import constants
from astropy.cosmology import FlatLambdaCDM

Z_LENS, Z_SOURCE = 0.5, 1.0
CENTRE = (0.3, -0.2)


def concentration(log_m200, z):
    """Dutton & Maccio (2014), c_200."""
    a = 0.520 + (0.905 - 0.520) * np.exp(-0.617 * z**1.21)
    return 10 ** (a + (-0.101 + 0.026 * z) * np.log10(10**log_m200 * 0.7 / 1e12))


def nfw_profile(log_m200):
    """lenstronomy's (Rs, alpha_Rs) of a halo of that mass."""
    import lenstronomy.Util.constants as lenstronomy_constants
    from lenstronomy.Cosmo.lens_cosmo import LensCosmo

    cosmology = LensCosmo(Z_LENS, Z_SOURCE, cosmo=FlatLambdaCDM(H0=70, Om0=0.3))
    r_s, alpha_rs = cosmology.nfw_physical2angle(10**log_m200, concentration(log_m200, Z_LENS))
    # lenstronomy's G M_sun is 2.8e-4 above the measured one, which astropy has
    theirs = lenstronomy_constants.G * lenstronomy_constants.M_sun
    return r_s, alpha_rs * (constants.G * constants.M_sun).si.value / theirs


def deflection(name, x, y, **kwargs):
    from lenstronomy.LensModel.lens_model import LensModel

    return np.stack(LensModel([name]).alpha(x, y, [{**kwargs, "center_x": CENTRE[0], "center_y": CENTRE[1]}]))


def nfw(log_m200, x, y):
    r_s, alpha_rs = nfw_profile(log_m200)
    return deflection("NFW", x, y, Rs=r_s, alpha_Rs=alpha_rs)


def sis(theta, x, y):
    return deflection("SIS", x, y, theta_E=theta)


def multipole(m, a, phi, x, y):
    return deflection("MULTIPOLE", x, y, m=m, a_m=a, phi_m=phi)


def rays():
    """From 1e-3 to 5 arcsec from the centre, denser towards it."""
    rng = np.random.default_rng(31)
    r, angle = 10 ** rng.uniform(-3, 0.7, 200), rng.uniform(0, 2 * np.pi, 200)
    return CENTRE[0] + r * np.cos(angle), CENTRE[1] + r * np.sin(angle)


def main():
    x, y = rays()
    masses, thetas, angles = np.array([8.0, 9.5, 10.5, 12.0]), np.array([0.005, 0.04]), np.array([0.2, 1.1])
    out = {
        "rays": np.stack([x, y]),
        "log_m200": masses,
        "nfw_profile": np.array([nfw_profile(m) for m in masses]),
        "nfw": np.array([nfw(m, x, y) for m in masses]),
        "theta_sub": thetas,
        "sis": np.array([sis(theta, x, y) for theta in thetas]),
        "phi_4": angles,
        "multipole4": np.array([multipole(4, 0.015, phi, x, y) for phi in angles]),
        "versions": np.array([f"{k} {version(k)}" for k in ("lenstronomy", "numpy", "astropy")]),
    }
    path = Path(__file__).with_name("subhalo.npz")
    np.savez_compressed(path, **out)
    print(path.name, path.stat().st_size, "bytes", *out["versions"], out["nfw_profile"])


if __name__ == "__main__":
    main()
