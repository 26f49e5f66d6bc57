"""The image's axes on the sky: position angles, north through east, from the WCS cards of its header."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .errors import BlindlensError


class Sky(NamedTuple):
    """What lies where at the image's centre.

    axes: (2, 2), rows east and north, columns the image's x and y: displacements on the sky per displacement in the
    image. centre: right ascension and declination (ICRS, degrees), None where only the orientation is known.
    """

    axes: np.ndarray
    centre: tuple[float, float] | None = None

    @staticmethod
    def north_up() -> "Sky":
        """North along +y, east along -x."""
        return Sky(np.array([[-1.0, 0.0], [0.0, 1.0]]))

    @staticmethod
    def from_wcs(cards: Mapping[str, Any], shape: tuple[int, int]) -> "Sky | None":
        """Of an image of shape (ny, nx) with these FITS cards; None where they do not place it on the sky.

        The projection is differentiated at the image's centre; galactic and ecliptic axes are turned to ICRS.
        BlindlensError for a WCS that cannot be used.
        """
        if not str(cards.get("CTYPE1", "")).strip():
            return None
        from astropy.io import fits
        from astropy.wcs import WCS, FITSFixedWarning

        # the distortion's coefficients are not kept, only the linear part
        linear = {k: v.replace("-SIP", "") if isinstance(v, str) else v for k, v in cards.items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FITSFixedWarning)
                wcs = WCS(fits.Header(linear), naxis=2)
                if not wcs.has_celestial:
                    return None
                x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
                middle = wcs.pixel_to_world(x, y).icrs  # type: ignore[union-attr]
                across, along = [x - 0.5, x + 0.5, x, x], [y, y, y - 0.5, y + 0.5]
                ends = wcs.pixel_to_world(across, along).icrs  # type: ignore[union-attr]
        except Exception as error:  # astropy and wcslib raise a dozen kinds
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BlindlensError(f"the header's WCS cannot be used ({reason}); correct or remove its cards") from None
        angle, distance = middle.position_angle(ends).rad, middle.separation(ends).arcsec
        seen = distance * np.stack([np.sin(angle), np.cos(angle)])
        axes = np.stack([seen[:, 1] - seen[:, 0], seen[:, 3] - seen[:, 2]], 1)
        size = np.sqrt(abs(np.linalg.det(axes)))
        if not (np.isfinite(axes).all() and size > 0):
            raise BlindlensError("the header's WCS cannot be used (singular matrix); correct or remove its cards")
        return Sky(axes / size, (float(middle.ra.deg), float(middle.dec.deg)))

    def position_angle(self, phi: Any, fold: int = 2) -> np.ndarray:
        """Degrees from north through east, in [0, 360/fold), of directions phi (radians from the image's +x to +y).

        fold: 2 for an axis or a shear, m for a multipole, 1 for an arrow.
        """
        east, north = np.tensordot(self.axes, np.stack([np.cos(phi), np.sin(phi)]), 1)
        return np.degrees(np.arctan2(east, north)) % (360 / fold)
