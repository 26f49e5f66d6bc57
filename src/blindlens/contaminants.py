"""Neighbours of the lens, found before any lens model is known, and masked where no image of the source can lie."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
import scipy.optimize
import scipy.signal

from .errors import BlindlensError
from .lens.mass import LensModel
from .observation import Observation

DETECTED = 6.0
"""Peak signal to noise of what counts as a source."""
FAINTEST = 3.0
"""Signal to noise down to which it is followed outwards."""
BROADENED = (0.0, 2.0)
"""Sources are looked for with the PSF, and with the PSF widened by a Gaussian (sigma in pixels), for galaxies."""
PROMINENT = 3.0
"""How far (in signal to noise) two sources that touch must rise above the saddle between them to count as two.

They must rise to twice its height, too: less are clumps of an arc, of which no part is to be masked.
"""
CORE = 0.4
"""Within this many arcsec of the middle, what is left of the lens's own light is no source."""


@dataclass(frozen=True)
class Contaminant:
    """One neighbour: x, y of its peak in arcsec; how many pixels are masked for it; peak signal to noise."""

    x: float
    y: float
    pixels: int
    peak: float

    def __str__(self) -> str:
        return f"({self.x:+.2f}, {self.y:+.2f}) arcsec, {self.pixels} pixels, peak S/N {self.peak:.0f}"


@dataclass(frozen=True)
class Contaminants:
    """What was found: mask (ny, nx), True where a neighbour lies; masked: the neighbours, brightest first.

    doubtful: sources within the protected radius that look foreign (`pixels` is what masking them would take); nothing
    is masked for them. brighter: whether the brightest neighbour outshines all within the radius.
    """

    mask: np.ndarray
    masked: tuple[Contaminant, ...]
    doubtful: tuple[Contaminant, ...]
    brighter: bool


def protected_radius(lens: LensModel) -> float:
    """Arcsec from the middle of the image within which the prior lets the source be imaged; 2.8 by default.

    The largest Einstein radius, plus how far the source's centre may lie from the middle, plus 0.1.
    """

    def high(name: str) -> float:
        block, _ = lens.space.block(name)
        return max(abs(block.low), abs(block.high))  # type: ignore[attr-defined]

    return round(high("Rein") + float(np.hypot(high("xs"), high("ys"))) + 0.1, 1)


def without_contaminants(observation: Observation, radius: float = 2.8) -> Observation:
    """The observation with the neighbours beyond `radius` masked; notes say which, and what looks foreign within.

    Raises BlindlensError when that leaves no pixel, and for a radius that is not positive.
    """
    found = find_contaminants(observation, radius)
    notes = []
    if found.masked:
        many = f"{len(found.masked)} neighbour{'s' * (len(found.masked) > 1)}"
        notes.append(
            f"{many} beyond {radius:g} arcsec of the middle masked, {int(found.mask.sum())} pixels: "
            + "; ".join(map(str, found.masked))
        )
        if found.brighter:
            notes.append("the brightest neighbour outshines all else: if it is the lens, give --centre X Y")
    notes += [
        f"a source at {one} may not belong to the lens (it lies more than twice as far out as the arcs), but so "
        "near the middle nothing is masked before the fit: give --mask FILE to mask it"
        for one in found.doubtful
    ]
    mask = observation.mask & ~found.mask
    return replace(observation, mask=mask, notes=(*observation.notes, *notes))


def find_contaminants(observation: Observation, radius: float = 2.8) -> Contaminants:
    """Neighbours by segmentation of what the lens's smooth light leaves over.

    Smooth light is taken off (`smooth_light`), the rest filtered with the PSF for the best signal to noise of a source
    at each pixel; pixels above 3 that hang together and reach 6 are a source; sources that touch are separated
    (`_segments`). One whose peak lies beyond `radius` (arcsec) from the middle is masked there, its outline widened by
    the circle that holds 90 % of the PSF. Within, sources more than twice as far out as the other light are called
    doubtful: a source that is imaged twice has no image beyond two Einstein radii.
    """
    if not radius > 0:
        raise BlindlensError(f"the protected radius must be a positive number of arcsec, not {radius}")
    x, y = observation.coordinates()
    r = np.hypot(x, y)
    rest = observation.image - smooth_light(observation)
    significance = _significance(rest, observation, r > radius)
    labels, many = _segments(significance)
    index = np.arange(1, many + 1)
    peaks = scipy.ndimage.maximum_position(significance, labels, index)
    sources = [(label, place) for label, place in zip(index, peaks, strict=True) if significance[place] > DETECTED]
    around = _disc(_containing(observation.psf, 0.9))
    images = np.isin(labels, [label for label, place in sources if CORE < r[place] <= radius]) & (r <= radius)
    arcs = np.median(r[images]) if images.any() else np.inf
    masked, doubtful, mask = [], [], np.zeros(r.shape, bool)
    for label, place in sorted(sources, key=lambda one: -significance[one[1]]):
        outline = scipy.ndimage.binary_dilation(labels == label, around)
        beyond = r[place] > radius
        if beyond:
            outline = np.logical_and(outline, r > radius)
            mask = mask | outline
        one = Contaminant(float(x[place]), float(y[place]), int(outline.sum()), float(significance[place]))
        if beyond:
            masked.append(one)
        elif r[place] > 2 * arcs:
            doubtful.append(one)
    within = observation.image[r <= radius].max(initial=-np.inf)
    brighter = bool(masked) and observation.image[mask].max() > within
    return Contaminants(mask, tuple(masked), tuple(doubtful), brighter)


def smooth_light(observation: Observation) -> np.ndarray:
    """The lens galaxy's light and the sky, (ny, nx): a Sersic profile's ellipses, and on each what most pixels say.

    The ellipses come from a fit that heeds outliers little (arcs, neighbours); on rings of them a + b cos + c sin
    of the angle and of twice the angle is fitted without the pixels that stand out, and interpolated between the rings.
    """
    x, y = observation.coordinates()
    R, angle = _ellipses(observation)
    used = observation.mask
    step = 2 * observation.pixel_scale
    edges = [0.0, step]
    while edges[-1] < R.max():
        edges.append(edges[-1] + max(step, 0.08 * edges[-1]))
    ring = np.digitize(R, edges)
    waves = np.stack([np.ones_like(R), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], -1)
    middles, coefficients = [], []
    for k in range(1, len(edges) + 1):
        here = used & (ring == k)
        if here.sum() < 12:
            continue
        middles.append(R[here].mean())
        coefficients.append(_without_outliers(waves[here], observation.image[here], observation.noise[here]))
    if not middles:
        return np.zeros(R.shape)
    at = np.array(coefficients)
    return np.sum([np.interp(R, middles, a) * wave for a, wave in zip(at.T, np.moveaxis(waves, -1, 0), strict=True)], 0)


def _without_outliers(waves: np.ndarray, values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Coefficients of the waves; all but the first weakly held to zero, for rings that the image's border cuts."""
    keep = np.ones(len(values), bool)
    held = np.diag([0.0, *[0.05 * len(values)] * (waves.shape[1] - 1)])
    start = np.median(values)
    fit = np.zeros(waves.shape[1])
    for _ in range(12):
        w = waves[keep]
        fit = np.linalg.solve(w.T @ w + held, w.T @ (values[keep] - start))
        rest = values - start - waves @ fit
        spread = max(1.4826 * np.median(np.abs(rest[keep])), 0.2 * float(np.median(noise)))
        new = (rest < 2.0 * spread) & (rest > -4.0 * spread)
        if new.sum() < 8 or (new == keep).all():
            break
        keep = new
    fit[0] += start
    return fit


def _ellipses(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Elliptical radius (arcsec, of equal area) and angle of each pixel, about the centre of the lens's light."""
    x, y = observation.coordinates()
    # a few thousand pixels tell five numbers
    some = np.flatnonzero(observation.mask)[:: max(1, observation.n_used // 5000)]
    image, noise, some_x, some_y = (array.ravel()[some] for array in (observation.image, observation.noise, x, y))
    # light as bright as the lens has a model that is never right to the noise: residuals count in per cent of it
    error = np.hypot(noise, 0.05 * np.abs(image))
    peak = max(float(np.quantile(image, 0.999)), float(np.median(noise)))

    def elliptical(p: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        e = np.hypot(p[2], p[3])
        q, phi = (1 - e) / (1 + e), 0.5 * np.arctan2(p[3], p[2])
        dx, dy = x - p[0], y - p[1]
        along, across = dx * np.cos(phi) + dy * np.sin(phi), dy * np.cos(phi) - dx * np.sin(phi)
        return np.hypot(along * np.sqrt(q), across / np.sqrt(q)), np.arctan2(across / np.sqrt(q), along * np.sqrt(q))

    def misfit(p: np.ndarray) -> np.ndarray:
        R, _ = elliptical(p, some_x, some_y)
        light = peak * np.exp(p[4] - (np.hypot(R, 0.03) / np.exp(p[5])) ** (1 / np.exp(p[6]))) + peak * p[7]
        return (image - light) / error

    low = [-0.5, -0.5, -0.4, -0.4, -15, -12, np.log(0.3), -1]
    high = [0.5, 0.5, 0.4, 0.4, 10, 4, np.log(6), 1]
    start = [0, 0, 0.01, 0, 0, -1, np.log(2), 0]
    found = scipy.optimize.least_squares(misfit, start, bounds=(low, high), loss="soft_l1", x_scale=0.1, max_nfev=40)
    return elliptical(found.x, x, y)


def _significance(rest: np.ndarray, observation: Observation, outside: np.ndarray) -> np.ndarray:
    """Signal to noise of a source at each pixel, (rest/sigma^2 * P) / sqrt(1/sigma^2 * P^2), the greater of two P.

    Where that scatters by more than 1 on the whole (correlated noise, light that is not as smooth as the model), it is
    divided by the scatter.
    """
    weight = observation.mask / observation.noise**2
    best = np.full(rest.shape, -np.inf)
    for width in BROADENED:
        half = int(4 * width) + 1
        kernel = np.pad(observation.psf, half)
        kernel = scipy.ndimage.gaussian_filter(kernel, width) if width else kernel
        signal = scipy.signal.fftconvolve(rest * weight, kernel[::-1, ::-1], mode="same")
        variance = scipy.signal.fftconvolve(weight, kernel[::-1, ::-1] ** 2, mode="same")
        # next to nothing of a source on a masked pixel is seen
        seen = variance > 0.1 * np.median(weight[observation.mask]) * np.sum(kernel**2)
        ratio = np.where(seen, signal / np.sqrt(np.where(seen, variance, 1.0)), 0.0)
        plain = ratio[outside & seen] if (outside & seen).sum() > 100 else ratio[seen]
        best = np.maximum(best, ratio / max(1.0, 1.4826 * float(np.median(np.abs(plain - np.median(plain))))))
    return best


def _segments(significance: np.ndarray) -> tuple[np.ndarray, int]:
    """(labels, how many): pixels above FAINTEST that hang together, parted by watersheds between PROMINENT peaks."""
    whole, many = _connected(significance > FAINTEST)
    markers = whole.copy()
    top = max(float(significance.max()), FAINTEST)
    for level in np.geomspace(FAINTEST, top, 40)[1:-1]:
        parts, n = _connected(significance > level)
        index = np.arange(1, n + 1)
        owners = scipy.ndimage.maximum(markers, parts, index)
        rises = scipy.ndimage.maximum(significance, parts, index) > level + max(PROMINENT, level)
        for owner in np.unique(owners[owners > 0]):
            real = index[rises & (owners == owner)]
            if len(real) > 1:
                markers[markers == owner] = 0
                for k, part in enumerate(real):
                    markers[parts == part] = owner if k == 0 else (many := many + 1)
    depth = np.log(top / np.clip(significance, FAINTEST, None)) / max(np.log(top / FAINTEST), 1e-6)
    flooded = scipy.ndimage.watershed_ift((65000 * depth).astype(np.uint16), markers, np.ones((3, 3)))
    return np.where(whole > 0, flooded, 0), many


def _connected(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """(labels, how many) of the pixels that touch, diagonally too."""
    labels = np.zeros(mask.shape, np.int32)
    return labels, int(scipy.ndimage.label(mask, np.ones((3, 3)), output=labels))  # type: ignore[arg-type]


def _containing(psf: np.ndarray, share: float) -> float:
    """Radius in pixels of the circle about the middle that holds this share of the PSF."""
    rows, columns = np.indices(psf.shape)
    r = np.hypot(rows - psf.shape[0] // 2, columns - psf.shape[1] // 2).ravel()
    order = np.argsort(r)
    return float(r[order][np.searchsorted(np.cumsum(psf.ravel()[order]), share * psf.sum()).clip(0, r.size - 1)])


def _disc(radius: float) -> np.ndarray:
    n = int(np.ceil(radius))
    rows, columns = np.mgrid[-n : n + 1, -n : n + 1]
    return np.hypot(rows, columns) <= max(radius, 1.0)
