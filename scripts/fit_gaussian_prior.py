"""Fit the shipped Gaussian prior's profiles to procedural galaxies: python scripts/fit_gaussian_prior.py OUT.

`--images 6000 --seed 1` are drawn noise-free from `blindlens.prior.galaxies`, each with a random zoom and shift: a
lensed source is neither centred on its grid nor of a known size. All are brought to one brightness, the median one:
that is what `flux_scale` is for, and the rare brightest galaxies would otherwise make up the second moments. Fitted are
the mean and the standard deviation in rings about the centre, and the isotropic power spectrum of the fluctuation
(x - mean) / sd. Every image counts with all its rotations and reflections, which the ring averages do by themselves.

`--compare [PRIOR ...]` writes nothing: it scores this family, the sample covariance and prior files on galaxies of
another seed (docs/gaussian_prior.md).
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.linalg

from blindlens.prior import GaussianPrior
from blindlens.prior.galaxies import GalaxyRecipe, galaxies
from blindlens.storage import save_arrays

SCALE, OFFSET, NPIX, K_MAX = 10.115, 0.0, 64, 31
SHIFT = 0.06  # sd of a galaxy's centre, fields of view a side
ZOOM = (0.7, 1.6)  # log-uniform
STRATA = 16  # zooms drawn: one recipe each
NOISE = (0.03, 0.1, 0.3, 1.0)  # model units
SMOOTH = 0.05  # noise of the density that is scored


def augmented(seed: int, count: int) -> np.ndarray:
    """Galaxies (count, NPIX, NPIX) in model units, each of the median root mean square.

    Painted, not resampled, at their zoom and place: as sharp as any.
    """
    zooms = ZOOM[0] * (ZOOM[1] / ZOOM[0]) ** ((np.arange(STRATA) + 0.5) / STRATA)
    parts = np.array_split(np.arange(count), STRATA)
    images = []
    for zoom, part in zip(zooms, parts, strict=True):
        fov = GalaxyRecipe().field_of_view / zoom
        recipe = GalaxyRecipe(field_of_view=fov, centre_sd=SHIFT * fov)
        images.append(galaxies(seed, part.size, NPIX, recipe, first=int(part[0]) if part.size else 0))
    x = (np.concatenate(images) - OFFSET) / SCALE
    rms = np.sqrt(np.mean(np.square(x, dtype=np.float64), (1, 2)))
    return x * (np.median(rms) / rms)[:, None, None].astype(x.dtype)


def radii(n: int) -> np.ndarray:
    """Distance of each pixel from the centre, units of half the field, (n, n)."""
    axis = (np.arange(n) - (n - 1) / 2) / (n / 2)
    return np.hypot(axis[:, None], axis)


def rings(images: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ring radii (units of half the field), mean and standard deviation there; float64 sums, nothing is trimmed."""
    r = radii(images.shape[-1])
    label = (r / width).astype(int)
    first, second = images.mean(0, dtype=np.float64), np.mean(np.square(images, dtype=np.float64), 0)
    radius, mean, square = (
        np.array([t[label == k].mean() for k in np.unique(label)]) for t in (r, first, second)
    )  # fmt: skip
    return radius, mean, np.sqrt(square - mean**2)


def spectrum(g: np.ndarray) -> np.ndarray:
    """Isotropic power of g (K, n, n) at wavenumbers 0 .. n/2 - 1, cycles per field."""
    n = g.shape[-1]
    k = np.fft.fftfreq(n, 1 / n)
    label = np.rint(np.hypot(k[:, None], k)).astype(int)
    power = sum(np.sum(np.abs(np.fft.fft2(part)) ** 2, 0) for part in np.array_split(g, max(len(g) // 256, 1)))
    return np.array([power[label == j].mean() for j in range(n // 2)])


def fit(images: np.ndarray, window: str = "hann") -> dict[str, np.ndarray]:
    """The profiles that `GaussianPrior.from_profiles` takes.

    The fluctuation is unit noise of a steep spectrum everywhere, corners included; the window keeps the edges, where
    the torus does not close, from leaking into high wavenumbers.
    """
    n = images.shape[-1]
    r = radii(n)
    radius, mean, sd = rings(images, 1.5 / n)
    taper = {"hann": np.cos(np.pi / 2 * np.minimum(r, 1)) ** 2, "flat": np.clip((1 - r) / 0.2, 0, 1)}[window]
    power = spectrum((images - np.interp(r, radius, mean)) / np.interp(r, radius, sd) * taper)[: K_MAX + 1]
    arrays = {"radius": radius, "mean": mean, "sd": sd, "wavenumber": np.arange(K_MAX + 1.0), "power": power / power[0]}
    return {name: a.astype(np.float32) for name, a in arrays.items()}


def dense(prior: GaussianPrior) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n*n,) and covariance (n*n, n*n), delta^2 added everywhere (it is nothing where the basis is)."""
    basis = np.asarray(prior.basis)
    return np.asarray(prior.mean, float).ravel(), (basis @ basis.T).astype(float) + prior.delta**2 * np.eye(len(basis))


def sample_covariance(images: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Of the images and their eight rotations by right angles and reflections, (n*n, n*n)."""
    n = images.shape[-1]
    flat = (images - mean.reshape(n, n)).reshape(len(images), -1).astype(np.float32)
    total = (flat.T @ flat).astype(np.float64).reshape(n, n, n, n) / len(images)
    total = total + total.transpose(1, 0, 3, 2)
    total = total + total[::-1, :, ::-1, :]
    return ((total + total[:, ::-1, :, ::-1]) / 8).reshape(n * n, n * n)


def low_rank(S: np.ndarray, rank: int) -> np.ndarray:
    """The leading eigenvectors of S and the variance they leave out, pixel by pixel."""
    lam, v = scipy.linalg.eigh(S, subset_by_index=(len(S) - rank, len(S) - 1))
    out = (v * lam) @ v.T
    out[np.diag_indices_from(out)] = np.diag(S)
    return out


def score(name: str, mean: np.ndarray, S: np.ndarray, images: np.ndarray) -> None:
    """One row of the table: denoising errors, log densities and modes of N(mean, S)."""
    lam, v = scipy.linalg.eigh(S, driver="evd", overwrite_a=True)
    lam = np.maximum(lam, 1e-8)
    x = (images.reshape(len(images), -1) - mean) @ v
    white = np.random.default_rng(0).normal(size=x.shape)
    errors = [np.mean((lam / (lam + s**2) * (x + s * white) - x) ** 2) / s**2 for s in NOISE]
    v2 = lam + SMOOTH**2
    log_p = -0.5 * ((x + SMOOTH * white) ** 2 / v2 + np.log(2 * np.pi * v2)).sum(1)
    share = np.cumsum(lam[::-1]) / lam.sum()
    modes = [int(np.searchsorted(share, q)) + 1 for q in (0.99, 0.999, 0.9999)]
    cells = [name, *(f"{e:.4f}" for e in errors), f"{log_p.mean():.0f}", f"{np.median(log_p):.0f}", *map(str, modes)]
    print("| " + " | ".join(cells) + " |", flush=True)


def compare(images: np.ndarray, held_out: np.ndarray, files: list[str]) -> None:
    columns = [f"error at {s:g}" for s in NOISE] + ["mean log p", "median log p", "modes 99 %", "99.9 %", "99.99 %"]
    print("| prior | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for file in files:
        score(Path(file).name, *dense(GaussianPrior.load(Path(file))), held_out)
    for window in ("flat", "hann"):
        prior = GaussianPrior.from_profiles(NPIX, **fit(images, window), scale=SCALE, offset=OFFSET, name=window)
        mean, profiles = dense(prior)
        score(f"profiles, {window} window", mean, profiles.copy(), held_out)
    S = sample_covariance(images, mean)
    score("sample covariance", mean, S.copy(), held_out)
    for rank in (250, 1000):
        score(f"its leading {rank} + diagonal", mean, low_rank(S, rank), held_out)
    score("0.8 sample covariance + 0.2 profiles", mean, 0.8 * S + 0.2 * profiles, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", help="the file to write")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--compare", nargs="*", metavar="PRIOR", help="score families, and prior files, on held-out images"
    )
    arguments = parser.parse_args()
    if arguments.out is None and arguments.compare is None:
        parser.error("give the file to write, or --compare")
    images = augmented(arguments.seed, arguments.images)
    if arguments.compare is not None:
        compare(images, augmented(arguments.seed + 1, 1000), arguments.compare)
        return
    arrays = fit(images)
    header = {"kind": "gaussian-profiles", "name": "galaxy-gaussian", "n": NPIX, "scale": SCALE, "offset": OFFSET}
    save_arrays(Path(arguments.out), arrays, {**header, "images": arguments.images, "seed": arguments.seed})
    slope = np.polyfit(np.log(np.arange(4, 24)), np.log(arrays["power"][4:24]), 1)[0]
    mean, sd = float(arrays["mean"][0]), float(arrays["sd"][0])
    print(f"{len(images)} images; mean {mean:.3f}, sd {sd:.3f} at the centre; power ~ k^{slope:.2f}")


if __name__ == "__main__":
    main()
