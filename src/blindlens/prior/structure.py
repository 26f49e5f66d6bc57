"""How galaxies are built, in five numbers: size, concentration, asymmetry, Gini coefficient, smoothness.

Definitions of Conselice (2003, ApJS 147, 1) and Lotz, Primack & Madau (2004, AJ 128, 163), without background terms:
the images must be background-subtracted, and noise raises asymmetry and smoothness (compare sets at equal noise).
The centre is the one of least asymmetry, searched in steps of half a pixel, so that turning by 180 degrees moves
pixels onto pixels and nothing is interpolated.
"""

import itertools

import numpy as np
from scipy.ndimage import uniform_filter

from blindlens.errors import BlindlensError

SUBPIXELS = 4  # per side, for the curve of growth
BINS_PER_PIXEL = 10  # of the curve of growth
PETROSIAN_RATIO = 0.2  # local over mean surface brightness at the Petrosian radius
APERTURE = 1.5  # Petrosian radii within which the total flux is counted
SEARCH = ((3, 2), (1, 1))  # for the centre: steps either way and half-pixels a step, coarse then fine
CHUNK = 32  # images at a time


def structure(images):
    """Structure of each image of a stack (m, n, n).

    Returns a dict of arrays (m,): `r50` in pixels; `concentration` 5 log10(r80 / r20); `asymmetry`
    sum |I - I_180| / (2 sum |I|); `gini` of the pixels brighter than the surface brightness at the Petrosian radius;
    `smoothness` sum |I - I_S| / sum |I| outside a quarter of a Petrosian radius, I_S a box mean as wide as that.
    Apertures end at the image's edge. Raises BlindlensError for a stack of another shape, or that isn't finite, or an
    image without positive flux.
    """
    images = np.asarray(images)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.shape[1] < 8:
        raise BlindlensError(f"structure() takes a stack of square images (m, n, n), n >= 8, not {images.shape}.")
    if not np.isfinite(images).all():
        raise BlindlensError("structure() takes finite images: mask or fill NaN and infinite pixels first.")
    if images.size and not (images.sum((1, 2), dtype=np.float64) > 0).all():
        raise BlindlensError("structure() takes images of positive total flux: subtract less background.")
    parts = [_structure(images[i : i + CHUNK].astype(np.float64)) for i in range(0, len(images), CHUNK)]
    names = ("r50", "concentration", "asymmetry", "gini", "smoothness")
    return {name: np.concatenate([p[name] for p in parts] or [np.zeros(0)]) for name in names}


def _structure(images):
    peak = _flux_centre(images)
    r_p = petrosian_radius(*_growth(images, peak))
    centre, asymmetry = _least_asymmetry(images, peak, APERTURE * r_p)
    radii, flux, area = _growth(images, centre)
    r_p = petrosian_radius(radii, flux, area)
    total = _at(radii, flux, APERTURE * r_p)
    r20, r50, r80 = (_radius_of(radii, flux, f * total) for f in (0.2, 0.5, 0.8))
    return {
        "r50": r50,
        "concentration": 5 * np.log10(r80 / r20),
        "asymmetry": asymmetry,
        "gini": _gini(images, centre, r_p),
        "smoothness": _smoothness(images, centre, r_p),
    }


def _flux_centre(images):
    """Doubled pixel coordinates (m, 2) = (2 row, 2 column) of the brightest pixel of the images averaged over 5x5."""
    smooth = uniform_filter(images, 5, mode="constant", axes=(1, 2))
    m, n, _ = images.shape
    return 2 * np.stack(np.unravel_index(smooth.reshape(m, -1).argmax(1), (n, n)), 1)


def _distance(n, centre, subpixels=1):
    """Distance (m, n k, n k) in pixels of each (sub)pixel's centre from `centre` (m, 2), doubled pixel coordinates."""
    x = (np.arange(n * subpixels) + 0.5) / subpixels - 0.5
    dy, dx = (x - centre[:, i, None] / 2 for i in (0, 1))
    return np.hypot(dy[:, :, None], dx[:, None, :])


def _growth(images, centre):
    """Curve of growth: radii (k,), flux within them (m, k), number of pixels within them (m, k)."""
    m, n, _ = images.shape
    bins = int(1.5 * n * BINS_PER_PIXEL)
    index = (_distance(n, centre, SUBPIXELS) * BINS_PER_PIXEL).astype(np.intp)
    index = np.minimum(index, bins - 1) + (np.arange(m) * bins)[:, None, None]
    fine = np.repeat(np.repeat(images, SUBPIXELS, 1), SUBPIXELS, 2)
    flux = np.bincount(index.ravel(), fine.ravel(), m * bins).reshape(m, bins).cumsum(1) / SUBPIXELS**2
    area = np.bincount(index.ravel(), minlength=m * bins).reshape(m, bins).cumsum(1) / SUBPIXELS**2
    radii = np.arange(bins + 1) / BINS_PER_PIXEL
    return radii, np.pad(flux, ((0, 0), (1, 0))), np.pad(area, ((0, 0), (1, 0)))


def _at(radii, curve, r):
    """Each curve (m, k) at its own radius (m,)."""
    return np.array([np.interp(ri, radii, c) for ri, c in zip(r, curve, strict=True)])


def _radius_of(radii, flux, level):
    """First radius (m,) at which each curve of growth reaches its level (m,), linear within the bin."""
    k = np.maximum((flux >= level[:, None]).argmax(1), 1)
    rows = np.arange(len(flux))
    low, high = flux[rows, k - 1], flux[rows, k]
    return radii[k - 1] + (radii[k] - radii[k - 1]) * (level - low) / (high - low)


def petrosian_radius(radii, flux, area):
    """Radius (m,) where the mean brightness over 0.8 r to 1.25 r falls to 0.2 of the mean within r.

    Arguments as a curve of growth: radii (k,), flux (m, k), area (m, k). The last radius if it never falls so low.
    """
    r = radii[(radii >= 2) & (1.25 * radii <= radii[-1])]

    def within(curve, radius):
        return np.stack([np.interp(radius, radii, c) for c in curve])

    ring_flux, ring_area = (within(c, 1.25 * r) - within(c, 0.8 * r) for c in (flux, area))
    mean = within(flux, r) / within(area, r)
    # Beyond the image's corners rings are empty: they count as fallen below.
    fallen = ring_flux < PETROSIAN_RATIO * mean * ring_area
    fallen |= ring_area <= 0
    return np.where(fallen.any(1), r[fallen.argmax(1)], r[-1])


def _least_asymmetry(images, start, aperture):
    """Centre (m, 2) of least asymmetry near `start`, doubled pixel coordinates, and that asymmetry (m,)."""
    m, n, _ = images.shape
    weight = _distance(n, start) <= aperture[:, None, None]
    flux = (np.abs(images) * weight).sum((1, 2))
    # turned about a centre at a corner, and that moved by the search's whole reach, a pixel is still within the padding
    pad = n + sum(steps * size for steps, size in SEARCH)
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad)))
    rows = np.arange(m)[:, None, None]
    here = np.arange(n)
    best, centre = np.full(m, np.inf), start
    for steps, size in SEARCH:
        middle = centre
        for dy, dx in itertools.product(range(-steps, steps + 1), repeat=2):
            c = middle + (dy * size, dx * size)
            row, column = (c[:, k, None] - here + pad for k in (0, 1))
            turned = padded[rows, row[:, :, None], column[:, None, :]]
            a = (np.abs(images - turned) * weight).sum((1, 2)) / (2 * flux)
            better = a < best
            best, centre = np.where(better, a, best), np.where(better[:, None], c, centre)
    return centre, best


def _gini(images, centre, r_p):
    """Gini coefficient of the pixels within 1.5 r_p and above the brightness at r_p, images smoothed by r_p / 5."""
    n = images.shape[1]
    r = _distance(n, centre)
    smooth = _box_mean(images, r_p / 5)
    at_rp = np.abs(r - r_p[:, None, None]) <= 1
    level = (smooth * at_rp).sum((1, 2)) / np.maximum(at_rp.sum((1, 2)), 1)
    chosen = (smooth >= level[:, None, None]) & (r <= APERTURE * r_p[:, None, None])
    gini = np.empty(len(images))
    for i, image in enumerate(images):
        f = np.sort(np.abs(image[chosen[i]]))
        k = len(f)
        gini[i] = ((2 * np.arange(1, k + 1) - k - 1) * f).sum() / max(f.mean() * k * (k - 1), 1e-300)
    return gini


def _smoothness(images, centre, r_p):
    r = _distance(images.shape[1], centre)
    weight = (r <= APERTURE * r_p[:, None, None]) & (r >= 0.25 * r_p[:, None, None])
    rough = np.abs(images - _box_mean(images, 0.25 * r_p))
    return (rough * weight).sum((1, 2)) / (np.abs(images) * weight).sum((1, 2))


def _box_mean(images, width):
    """Running mean over a square of the nearest odd number of pixels, at least 3, to each image's width (m,)."""
    odd = np.maximum(2 * np.round((width - 1) / 2).astype(int) + 1, 3)
    out = np.empty_like(images)
    for w in np.unique(odd):
        out[odd == w] = uniform_filter(images[odd == w], w, mode="constant", axes=(1, 2))
    return out
