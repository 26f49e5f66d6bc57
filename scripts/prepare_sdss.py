"""Training images from real galaxies: python scripts/prepare_sdss.py sdss_morphology64.npz OUT.npz [--copies 1].

IN is a local copy of 6,519 well-resolved SDSS galaxies (64 x 64, peak 1, no physical units); neither it nor OUT is to
be redistributed. Stamps with clipped cores, low S/N, many masked pixels or a galaxy that reaches the edge are left out.
What stays is cleaned, so that a prior does not learn noise as texture: foreground stars are taken out, pixels smoothed
the more the lower their S/N, and beyond the isophote at which the smoothed galaxy sinks into its sky its profile is
continued. Then each is seen as a galaxy of the procedural set would be: half-light radius and flux are those of a
procedural galaxy, drawn among those it needs no great magnifying for (`MAGNIFY`: a blurred galaxy is a wrong one), and
all are brought to one unit, in which 98 % of the pixels lie below 10.115.

OUT: images (count, 64, 64) float32, groups (the galaxy's name: copies of one galaxy stay together), unit "procedural".
`open_images("OUT.npz")` reads it.
"""

import argparse

import jax
import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter, label, median_filter

from blindlens.prior.data.augmentation import turned
from blindlens.prior.galaxies import galaxies
from blindlens.prior.structure import structure
from blindlens.storage import atomic_write

CLIPPED = 0.01  # of the central pixels at most: csat in IN
NOISY = 100.0  # least total S/N: sn in IN
MASKED = 0.03  # of the stamp at most
EDGE = 0.15  # of the border's pixels at most belong to the galaxy
STEP = 0.7  # from what is seen at the stamp's border to the profile that continues it, relative, at most
SMOOTH = 2.0  # pixels, sd of the kernel with which the galaxy's extent is found
EXTENT = 3.0  # sigma of the smoothed sky
STAR = 3.0  # times as bright as the median around it, away from the nucleus: of our own Galaxy
STAR_RADIUS = 5  # pixels from the brightest central pixel within which nothing is taken for a star
KERNELS = (0.0, 0.7, 1.2, 2.0, 3.5)  # pixels, sd
CERTAIN = (10.0, 30.0)  # S/N from which, and above which alone, a finer kernel counts
WIDE = 2  # the cleaned galaxy's canvas, in stamps
MIDDLE = slice((WIDE - 1) * 32, (WIDE + 1) * 32)
FALL = (-12.0, -3.0)  # of log brightness from centre to the galaxy's edge
MAGNIFY = 1.2
HOLE = 0.3  # of the median around a pixel, where that is brighter than 0.3 in the unit of OUT: too dark to be real
SHRINK = 0.2  # at least: beyond, nothing is left of a galaxy's structure
UNIT = 10.115  # 98 % of the pixels lie below, arXiv:2511.04792
NPIX = 64
magnified = jax.jit(turned)


def spread(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def galaxy_region(smooth: np.ndarray, level: float) -> np.ndarray:
    """Where the smoothed image exceeds `level`, connected to the brightest central pixel."""
    labels, _ = label(smooth > level)
    middle = np.zeros_like(labels, bool)
    middle[NPIX // 2 - 8 : NPIX // 2 + 8, NPIX // 2 - 8 : NPIX // 2 + 8] = True
    peak = np.unravel_index(np.where(middle, smooth, -np.inf).argmax(), smooth.shape)
    return labels == labels[peak] if labels[peak] else np.zeros_like(middle)


def rim(image: np.ndarray) -> np.ndarray:
    """The outermost two pixels all round."""
    return np.concatenate([image[:2].ravel(), image[-2:].ravel(), image[2:-2, :2].ravel(), image[2:-2, -2:].ravel()])


def sky_of(image: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Level of the sky, where it is, and where the galaxy is; None if either is hard to find."""
    smooth = gaussian_filter(image, SMOOTH)
    sky = ~binary_dilation(smooth > 0.02, iterations=3) & (image != 0)
    level, region = 0.0, np.zeros_like(sky)
    for _ in range(3):  # what is sky and how noisy it is depend on one another
        if sky.sum() < 200:
            return None
        level = float(np.median(image[sky]))
        noise = max(spread(smooth[sky]), 1e-4)
        region = galaxy_region(smooth - level, EXTENT * noise)
        wider = ~binary_dilation((smooth - level > EXTENT * noise) | region, iterations=3) & (image != 0)
        sky = wider if wider.sum() >= 200 else sky
    return (level, sky, region) if region.sum() >= 50 else None


def without_stars(image: np.ndarray, noise: float) -> np.ndarray:
    """Foreground stars replaced by the median around them: sharp points that no resampling can carry without rings."""
    around = median_filter(image, 9)
    middle = slice(NPIX // 2 - 8, NPIX // 2 + 8)
    row, column = np.unravel_index(gaussian_filter(image, 1)[middle, middle].argmax(), (16, 16))
    side = np.arange(NPIX) - (NPIX // 2 - 8)
    far = np.hypot(side[:, None] - row, side - column) > STAR_RADIUS
    star = binary_dilation(far & (image > STAR * np.maximum(around, 2 * noise)), iterations=2)
    return np.where(star & far, around, image)


def denoised(image: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Each pixel smoothed as little as gives it the S/N of CERTAIN: bright parts stay as sharp as they are.

    Means of positive weights, blended by S/N: no rings, as thresholded wavelets leave round stars and nuclei.
    """
    result = gaussian_filter(image, KERNELS[-1])
    for width in KERNELS[-2::-1]:
        finer = gaussian_filter(image, width) if width else image
        ratio = result / max(spread(finer[sky]), 1e-5)
        weight = np.clip((ratio - CERTAIN[0]) / (CERTAIN[1] - CERTAIN[0]), 0, 1)
        result = weight * finer + (1 - weight) * result
    return result


def outskirts(image: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """On a canvas WIDE times as wide: an elliptical exponential that continues the galaxy, and the share of it to see.

    The ellipse is that of the region's second moments, the profile's fall is fitted between 0.55 and 0.95 of its edge.
    """
    row, column = np.nonzero(region)
    centre = np.array([row.mean(), column.mean()])
    moments = np.cov(np.stack([row, column])) * 4  # of a filled ellipse: semi-axes squared
    inverse = np.linalg.inv(moments)
    side = np.arange(WIDE * NPIX) - (WIDE - 1) * NPIX / 2
    y, x = side[:, None] - centre[0], side[None] - centre[1]
    m = np.sqrt(inverse[0, 0] * y**2 + 2 * inverse[0, 1] * x * y + inverse[1, 1] * x**2)
    inside = m[MIDDLE, MIDDLE]
    edges = np.linspace(0.55, 0.95, 6)
    rings = [image[(inside >= a) & (inside < b)] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    level = np.array([max(np.median(ring), 1e-6) if ring.size else 1e-6 for ring in rings])
    slope, top = np.polyfit((edges[1:] + edges[:-1]) / 2, np.log(level), 1)
    slope = np.clip(slope, *FALL)
    model = np.exp(top + np.log(level).mean() - (top + slope * 0.75) + slope * m)
    return model, np.clip((m - 0.75) / 0.3, 0, 1)


def clean(image: np.ndarray) -> np.ndarray | None:
    """The galaxy without its sky, on a canvas WIDE times as wide; None if it reaches the edge or isn't found."""
    found = sky_of(image)
    if found is None:
        return None
    level, sky, region = found
    if rim(region).mean() > EDGE:
        return None
    noise = spread(image[sky])
    image = without_stars(image - level, noise)
    smooth = denoised(image, sky)
    model, beyond = outskirts(smooth, region)
    # A companion that touches the galaxy is brighter than the continued profile: it belongs to the region and stays.
    shown = gaussian_filter(region.astype(float), 1.5)
    shown = np.clip(2 * shown - 1, 0, 1) * (1 - beyond[MIDDLE, MIDDLE] * (smooth < 3 * model[MIDDLE, MIDDLE]))
    added = shown * (smooth - model[MIDDLE, MIDDLE])
    if (rim(np.abs(added)) > STEP * (rim(model[MIDDLE, MIDDLE]) + noise)).any():
        return None
    ramp = np.clip((np.minimum(np.arange(NPIX), np.arange(NPIX)[::-1]) + 0.5) / 6, 0, 1)
    model[MIDDLE, MIDDLE] += added * ramp * ramp[:, None]
    return np.maximum(model, 0)


def at_scale(canvas: np.ndarray, zoom: float) -> np.ndarray:
    """The stamp (64, 64) of a canvas magnified about its centre; halved first where one interpolation would alias."""
    while zoom < 0.5:
        half = len(canvas) // 2
        canvas = np.pad(canvas.reshape(half, 2, half, 2).mean((1, 3)), half // 2)
        zoom *= 2
    return np.maximum(np.asarray(magnified(canvas.astype(np.float32), 0.0, zoom))[MIDDLE, MIDDLE], 0)


def partners(sizes: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each galaxy one of the targets (-1: none), so that the targets' distribution is met as far as it can be.

    Targets in random order are too many; the largest of the first that are enough choose first, each a galaxy that
    needs not be magnified much, and those that find none give way to the next ones.
    """
    out = np.full(sizes.size, -1)
    waiting = list(range(targets.size))
    while waiting and (out < 0).any():
        batch, waiting = waiting[: (out < 0).sum()], waiting[(out < 0).sum() :]
        for i in sorted(batch, key=lambda i: -targets[i]):
            fits = np.flatnonzero((out < 0) & (targets[i] <= MAGNIFY * sizes) & (targets[i] >= SHRINK * sizes))
            if fits.size:
                out[rng.choice(fits)] = i
    return out


def table(name: str, images: np.ndarray) -> str:
    """10/50/90 % of the structure statistics."""
    values = structure(images)
    cells = ["/".join(f"{q:.3g}" for q in np.quantile(values[k], (0.1, 0.5, 0.9))) for k in values]
    return "  ".join([f"{name:<12}", *(f"{k} {c}" for k, c in zip(values, cells, strict=True))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--copies", type=int, default=1, help="of each galaxy, at different sizes and fluxes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="stop after that many stamps of IN")
    options = parser.parse_args()
    with np.load(options.source) as file:
        metric = dict(zip(file["metric_names"], file["metrics"].T, strict=True))
        good = (metric["csat"] <= CLIPPED) & (metric["sn"] >= NOISY) & (metric["masked"] <= MASKED)
        for name, low in (("csat", metric["csat"] <= CLIPPED), ("sn", metric["sn"] >= NOISY), ("all three", good)):
            print(f"{name}: {low.sum()} of {good.size} stamps pass")
        numbers = np.flatnonzero(good)[: options.limit]
        stamps, names = file["images"][numbers].astype(np.float64), file["names"][numbers]
    cleaned = [clean(stamp) for stamp in stamps]
    kept = np.array([i for i, image in enumerate(cleaned) if image is not None and image.sum() > 0])
    images, names = np.stack([cleaned[i] for i in kept]), names[kept]
    print(f"{len(images)} left after those that reach their stamp's edge")

    rng = np.random.default_rng(options.seed)
    sizes = np.tile(structure(images[:, MIDDLE, MIDDLE])["r50"], options.copies)
    drawn = galaxies(options.seed + 1, 3 * sizes.size, NPIX)
    targets, flux = structure(drawn)["r50"], drawn.sum((1, 2))
    partner = partners(sizes, targets, rng)
    used = np.flatnonzero(partner >= 0)
    out = np.empty((used.size, NPIX, NPIX), np.float32)
    for k, i in enumerate(used):
        image = at_scale(images[i % len(images)], targets[partner[i]] / sizes[i])
        out[k] = image * (flux[partner[i]] / image.sum())
    # Interpolating a star that was left near a nucleus digs holes beside it.
    around = median_filter(out, (1, 3, 3))
    whole = ~((out < HOLE * around) & (around > HOLE)).any((1, 2))
    print(f"{(~whole).sum()} left out for holes beside a star")
    out, used = out[whole], used[whole]
    factor = UNIT / np.quantile(out, 0.98)
    print(f"{used.size} images; brought to the unit by a factor of {factor:.3f} (1: fluxes alone would do)")
    out *= factor
    print(table("SDSS", out))
    print(table("procedural", drawn[:1000]))
    with atomic_write(options.out) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, images=out, groups=names[used % len(images)], unit="procedural")


if __name__ == "__main__":
    main()
