import jax.numpy as jnp
import numpy as np

from blindlens.lens.critical import caustics, critical_lines
from blindlens.lens.mass import LensModel

SIE = {"x0": 0.1, "y0": -0.1, "q": 0.7, "phi": 0.6, "Rein": 1.4}


def test_the_critical_line_of_an_isothermal_ellipsoid_is_the_ellipse_of_convergence_one_half():
    model = LensModel(mass=("sie",))
    p = {k: jnp.asarray(v) for k, v in SIE.items()}
    line = max(critical_lines(model, p, 2.5), key=len)
    dx, dy = line[:, 0] - 0.1, line[:, 1] + 0.1
    u, v = np.cos(0.6) * dx + np.sin(0.6) * dy, np.cos(0.6) * dy - np.sin(0.6) * dx
    np.testing.assert_allclose(np.hypot(0.7 * u, v), 1.4 * np.sqrt(0.7), rtol=1e-4)
    area = 0.5 * abs(np.sum(line[:-1, 0] * np.diff(line[:, 1]) - line[:-1, 1] * np.diff(line[:, 0])))
    np.testing.assert_allclose(area, np.pi * 1.4**2, rtol=1e-3)


def test_the_tangential_caustic_reaches_its_cusps():
    """On an axis of an SIE the ellipse of convergence 1/2 maps to a cusp of the astroid (Kormann et al. 1994)."""
    model = LensModel(mass=("sie",))
    p = {k: jnp.asarray(v) for k, v in (SIE | {"x0": 0.0, "y0": 0.0, "phi": 0.0}).items()}
    q, b = 0.7, 1.4 * np.sqrt(0.7)
    root = np.sqrt(1 - q**2)
    cusps = b * (1 / q - np.arctan(root / q) / root), b * (1 - np.arctanh(root) / root)
    tangential = max(caustics(model, p, 2.5), key=len)
    np.testing.assert_allclose(np.abs(tangential).max(0), np.abs(cusps), rtol=2e-3)
