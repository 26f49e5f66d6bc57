"""Distances against lenstronomy's and by hand."""

import numpy as np
import pytest

from blindlens.cosmology import Distances
from blindlens.errors import BlindlensError


def test_by_hand():
    """An isothermal sphere of 250 km/s: theta_E = 4 pi (sigma/c)^2 D_ls/D_s, pi sigma^2 R / G within R = theta_E."""
    d = Distances.between(0.3, 1.2)
    theta = 4 * np.pi * (250 / 299792.458) ** 2 * d.ratio * 206264.806
    assert d.velocity_dispersion(theta) == pytest.approx(250, rel=1e-6)
    newton = 4.30091e-6  # kpc (km/s)^2 / Msun
    assert d.mass(theta) == pytest.approx(np.pi * 250**2 * theta * d.kpc_lens / newton, rel=1e-5)
    np.testing.assert_allclose(d.mass(np.array([1.0, 2.0])), d.critical * np.pi * np.array([1, 4]))


def test_mistakes():
    for z in ((0.5, 0.5), (0.7, 0.3), (0, 1), (-0.1, 1)):
        with pytest.raises(BlindlensError, match="0 < lens < source"):
            Distances.between(*z)
    with pytest.raises(BlindlensError, match="none of astropy's: give one of .*Planck18"):
        Distances.between(0.3, 0.8, "Planck99")


@pytest.mark.oracle
@pytest.mark.parametrize(("z_lens", "z_source"), [(0.2, 0.6), (0.5, 1.0), (0.9, 3.0)])
def test_lenstronomy(z_lens, z_source):
    cosmo = pytest.importorskip("lenstronomy.Cosmo.lens_cosmo")
    from astropy import constants
    from astropy.cosmology import WMAP9
    from lenstronomy.Util import constants as older

    theirs, d = cosmo.LensCosmo(z_lens, z_source, WMAP9), Distances.between(z_lens, z_source, "WMAP9")
    assert d.kpc_lens == pytest.approx(theirs.dd * 1000 * np.pi / 648000, rel=1e-9)
    assert d.kpc_source == pytest.approx(theirs.ds * 1000 * np.pi / 648000, rel=1e-9)
    # masses: lenstronomy's G and solar mass are older ones, together off by 2.8e-4
    newer = older.G * older.M_sun / (constants.G * constants.M_sun).value
    assert d.critical == pytest.approx(theirs.sigma_crit_angle * newer, rel=1e-6)
    assert d.mass(1.3) == pytest.approx(theirs.mass_in_theta_E(1.3) * newer, rel=1e-6)
    assert d.velocity_dispersion(1.3) == pytest.approx(theirs.sis_theta_E2sigma_v(1.3), rel=1e-4)
