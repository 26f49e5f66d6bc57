"""Fit the shipped Gaussian prior's profiles to galaxy images: python scripts/fit_gaussian_prior.py IMAGES.npz OUT.

IMAGES.npz holds `images` (K, n, n), background-subtracted, peak 1, the galaxy at the centre. Fitted are the mean and
the standard deviation in rings about the centre and the isotropic power spectrum of (x - mean) / sd, less the sky's white
floor, which is read off the highest wavenumbers. Every image counts with each of its eight reflections and quarter
turns, which the ring averages do by themselves.
"""

import sys
from pathlib import Path

import numpy as np

from blindlens.storage import save_arrays

SCALE, OFFSET, K_MAX = 10.115, 0.0, 24


def rings(images: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ring radii (units of half the field), mean and standard deviation there."""
    n = images.shape[-1]
    axis = (np.arange(n) - (n - 1) / 2) / (n / 2)
    r = np.hypot(axis[:, None], axis)
    label = (r / width).astype(int)
    radius, mean, sd = [], [], []
    for k in range(label.max() + 1):
        values = images[:, label == k]
        if values.size:
            radius.append(r[label == k].mean())
            mean.append(values.mean())
            sd.append(values.std())
    return np.array(radius), np.array(mean), np.array(sd)


def spectrum(g: np.ndarray) -> np.ndarray:
    """Isotropic power of g (K, n, n) at wavenumbers 0 .. n/2 - 1, cycles per field."""
    n = g.shape[-1]
    k = np.fft.fftfreq(n, 1 / n)
    label = np.rint(np.hypot(k[:, None], k)).astype(int)
    power = np.mean(np.abs(np.fft.fft2(g)) ** 2, 0)
    return np.array([power[label == j].mean() for j in range(n // 2)])


def main(images_path: str, out: str) -> None:
    with np.load(images_path, allow_pickle=False) as file:
        images = file["images"].astype(np.float64)
    radius, mean, sd = rings(images, 1.5 / images.shape[-1])
    # the ring's variance holds the sky's; the outermost rings are sky alone
    floor = np.median(sd[-6:])
    sd = np.sqrt(np.maximum(sd**2 - floor**2, (0.02 * sd.max()) ** 2))
    mean = np.maximum(mean - np.median(mean[-6:]), 0)
    n = images.shape[-1]
    axis = (np.arange(n) - (n - 1) / 2) / (n / 2)
    r = np.hypot(axis[:, None], axis)
    window = np.clip((1.0 - r) / 0.2, 0, 1)
    g = (images - np.interp(r, radius, mean)) / np.sqrt(np.interp(r, radius, sd) ** 2 + floor**2) * window
    power = spectrum(g)
    power = np.maximum(power - np.median(power[-4:]), 0)[: K_MAX + 1]
    # beyond the last wavenumber above the sky's floor the measured slope is continued
    good = power > 0.02 * np.median(spectrum(g)[-4:])
    slope, height = np.polyfit(np.log(np.arange(4, 12)), np.log(power[4:12]), 1)
    line = np.exp(height + slope * np.log(np.maximum(np.arange(K_MAX + 1), 1)))
    power = np.where(good, power, line)
    arrays = {"radius": radius, "mean": mean, "sd": sd, "wavenumber": np.arange(K_MAX + 1.0), "power": power / power[0]}
    header = {
        "kind": "gaussian-profiles",
        "name": "galaxy-gaussian",
        "n": n,
        "scale": SCALE,
        "offset": OFFSET,
        "images": len(images),
        "slope": float(slope),
    }
    save_arrays(Path(out), {k: v.astype(np.float32) for k, v in arrays.items()}, header)
    print(f"{len(images)} images; mean {mean[0]:.3f}, sd {sd[0]:.3f} at the centre; power ~ k^{slope:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
