"""From arcsec to kpc and solar masses."""

from typing import Any, NamedTuple

import numpy as np

from .errors import BlindlensError

ARCSEC = np.pi / 180 / 3600
"""In radians."""


def named(name: str) -> Any:
    """The astropy.cosmology of this name. BlindlensError, with the known names, if there is none."""
    from astropy import cosmology

    if name not in cosmology.available:
        raise BlindlensError(f"cosmology {name!r} is none of astropy's: give one of {', '.join(cosmology.available)}")
    return getattr(cosmology, name)


class Distances(NamedTuple):
    """kpc_lens, kpc_source: kpc per arcsec at the lens and the source. critical: Sigma_cr, solar masses per arcsec^2 at
    the lens. ratio: D_ls / D_s.
    """

    kpc_lens: float
    kpc_source: float
    critical: float
    ratio: float

    @staticmethod
    def between(z_lens: float, z_source: float, cosmology: str = "Planck18") -> "Distances":
        """Angular-diameter distances; Sigma_cr = c^2 / (4 pi G) D_s / (D_l D_ls).

        BlindlensError unless 0 < z_lens < z_source, and for an unknown cosmology.
        """
        if not 0 < z_lens < z_source:
            raise BlindlensError(f"redshifts must be 0 < lens < source, not {z_lens:g} and {z_source:g}")
        from astropy import constants, units

        model = named(cosmology)
        lens, source = model.angular_diameter_distance(z_lens), model.angular_diameter_distance(z_source)
        try:
            behind = model.angular_diameter_distance(z_lens, z_source)
        except TypeError:  # astropy 7
            behind = model.angular_diameter_distance_z1z2(z_lens, z_source)
        per_area = constants.c**2 / (4 * np.pi * constants.G) * source / (lens * behind)  # type: ignore[attr-defined]
        return Distances(
            kpc_lens=float(lens.to_value(units.kpc) * ARCSEC),
            kpc_source=float(source.to_value(units.kpc) * ARCSEC),
            critical=float((per_area * (lens * ARCSEC) ** 2).to_value(units.Msun)),
            ratio=float((behind / source).to_value("")),
        )

    def mass(self, radius: Any) -> Any:
        """pi radius^2 Sigma_cr: solar masses within an area of that radius (arcsec) whose mean convergence is 1."""
        return np.pi * np.asarray(radius) ** 2 * self.critical

    def velocity_dispersion(self, radius: Any) -> Any:
        """km/s of the isothermal sphere or (on the intermediate axis) ellipsoid of this Einstein radius (arcsec):
        radius = 4 pi (sigma/c)^2 D_ls/D_s."""
        return 299792.458 * np.sqrt(np.asarray(radius) * ARCSEC / (4 * np.pi * self.ratio))
