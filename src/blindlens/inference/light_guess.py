"""A first look at the lens galaxy's light: is there any, what shape has it, and how bright is what it leaves over?

Non-negative Gaussians round one centre are fitted to the image by least squares, for a grid of axis ratios and angles;
what stands out above the fit, such as arcs, is left out and the fit repeated. Nothing here enters the posterior: it is
where the search begins.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.optimize
import scipy.signal

from ..observation import Observation

NEAR = 0.3
"""Arcsec from the image's centre within which the lens galaxy's own is looked for."""
WIDTHS, ROUNDS, MISMATCH = 12, 4, 0.05
"""Gaussians; fits, each without what stood out in the last; the share of the light by which smooth models are wrong."""


class LightGuess(NamedTuple):
    """shape: x_light, y_light (arcsec), q_light, phi_light. model: (ny, nx), what is smooth; radius: (ny, nx), from its
    centre, arcsec. arcs: (k,), the image less the model where arcs may lie, off the centre, where no smooth model is
    right. Data units.
    """

    shape: dict[str, float]
    model: np.ndarray
    radius: np.ndarray
    arcs: np.ndarray

    def brightness(self, radii: np.ndarray) -> np.ndarray:
        """How bright the model gets beyond each radius (arcsec)."""
        return np.array([self.model[self.radius >= min(r, self.radius.max())].max() for r in radii])


def _radius(observation: Observation, x0: float, y0: float) -> np.ndarray:
    x, y = observation.coordinates()
    return np.hypot(x - x0, y - y0)


def brightest(observation: Observation) -> tuple[float, float]:
    """x, y in arcsec of the centroid of the brightest spot within NEAR arcsec of the centre."""
    peak = _peak(observation)
    if peak is None:
        return 0.0, 0.0
    x, y = observation.coordinates()
    around = (_radius(observation, *peak) <= 2.1 * observation.pixel_scale) & observation.mask
    weight = np.where(around, np.clip(observation.image - np.median(observation.image[around]), 0, None), 0)
    if not weight.sum() > 0:
        return peak
    return float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())


def _smooth(observation: Observation) -> np.ndarray:
    """The image smoothed by a pixel, -inf where masked."""
    return np.where(observation.mask, scipy.ndimage.gaussian_filter(observation.image, 1.0), -np.inf)


def _peak(observation: Observation) -> tuple[float, float] | None:
    """x, y of the brightest unmasked pixel near the centre, if there is one."""
    x, y = observation.coordinates()
    near = (np.hypot(x, y) <= max(NEAR, 1.5 * observation.pixel_scale)) & observation.mask
    if not near.any():
        return None
    peak = int(np.argmax(np.where(near, _smooth(observation), -np.inf)))
    return float(x.flat[peak]), float(y.flat[peak])


def light_at_centre(observation: Observation) -> bool:
    """Has the image a peak of its own at its centre? Then a galaxy's light is there: rings and arcs leave a hole.

    The brightest spot near the centre has nothing brighter within NEAR arcsec of itself, and the mean within a pixel or
    0.1 arcsec of it stands out against noise and against the median from 0.35 to 0.6 arcsec round it.
    """
    scale, peak = observation.pixel_scale, _peak(observation)
    if peak is None:
        return False
    smooth, r = _smooth(observation), _radius(observation, *peak)
    here = smooth[r == 0].max()
    if smooth[r <= max(NEAR, 1.5 * scale)].max() > here:
        return False
    r = _radius(observation, *brightest(observation))
    core = (r <= max(0.1, 1.01 * scale)) & observation.mask
    around = (r > max(0.35, 3 * scale)) & (r <= max(0.6, 4.5 * scale)) & observation.mask
    if not core.any() or not around.any():
        return False
    noise = float(np.sqrt(np.mean(observation.noise[core] ** 2) / core.sum()))
    inner, outer = float(observation.image[core].mean()), float(np.median(observation.image[around]))
    return inner > 5 * noise and inner > 1.3 * max(outer, 0.0) + 3 * noise


def light_guess(observation: Observation) -> LightGuess:
    """The smooth ellipse that explains most of the image."""
    x, y = observation.coordinates()
    x0, y0 = brightest(observation)
    field = min(observation.shape) * observation.pixel_scale
    sigmas = np.geomspace(0.4 * observation.pixel_scale, field / 2, WIDTHS)

    def basis(q: float, phi: float) -> np.ndarray:
        c, s = np.cos(phi), np.sin(phi)
        r2 = q * (c * (x - x0) + s * (y - y0)) ** 2 + (c * (y - y0) - s * (x - x0)) ** 2 / q
        # a pixel's width is added: what is narrower than a pixel is seen by its mean over one
        variance = sigmas[:, None, None] ** 2 + observation.pixel_scale**2 / 12
        images = np.exp(-r2 / (2 * variance))
        return scipy.signal.fftconvolve(images, observation.psf[None], mode="same", axes=(1, 2))

    tried = [(q, phi) for q in (0.4, 0.55, 0.7, 0.85) for phi in np.arange(8) * np.pi / 8] + [(1.0, 0.0)]
    bases = [basis(*one) for one in tried]
    used, model, best = observation.mask.copy(), np.zeros(observation.shape), len(tried) - 1
    for _ in range(ROUNDS):
        sigma = np.hypot(observation.noise, MISMATCH * np.clip(model, 0, None))
        scores, models = [], []
        for images in bases:
            A = (images * (used / sigma)).reshape(WIDTHS, -1)
            size = np.linalg.norm(A, axis=1) + 1e-30
            A, b = A / size[:, None], (observation.image * (used / sigma)).ravel()
            L = np.linalg.cholesky(A @ A.T + 1e-6 * np.eye(WIDTHS))
            found = scipy.optimize.lsq_linear(L.T, np.linalg.solve(L, A @ b), (0, np.inf), method="bvls")
            amplitudes = found.x / size
            models.append(np.tensordot(amplitudes, images, 1))
            scores.append(np.sum(np.minimum((observation.image - models[-1])[used] / sigma[used], 5) ** 2))
        best = int(np.argmin(scores))
        model = models[best]
        left = scipy.ndimage.gaussian_filter(observation.image - model, 0.7)
        stands_out = left > 2 * np.hypot(sigma, MISMATCH * model)
        used = observation.mask & np.logical_not(scipy.ndimage.binary_dilation(stands_out))
        if used.sum() < 4 * WIDTHS:
            break
    q, phi = tried[best]
    radius = _radius(observation, x0, y0)
    off = observation.mask & (radius > NEAR)
    arcs = (observation.image - model)[off if off.any() else observation.mask]
    inside = {name: float(np.clip(at, -0.49, 0.49)) for name, at in (("x_light", x0), ("y_light", y0))}
    return LightGuess({**inside, "q_light": q, "phi_light": float(phi)}, model, radius, arcs)
