"""How many neighbours of simulated lenses are found, what is left of them beside the mask, and what is found in vain.

    python benchmarks/contaminants.py [number of systems]

Hubble-like images (0.05 arcsec): the light of a Sersic lens, arcs of procedural galaxies behind lenses from the prior,
one star or galaxy 3.0 to 4.9 arcsec out; photon and background noise.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal

from blindlens.contaminants import Contaminants, find_contaminants
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.observation import Observation
from blindlens.prior.galaxies import galaxies

N, SCALE, SECONDS, RMS, RADIUS = 201, 0.05, 2000.0, 0.004, 2.8
BANDS = ((0, 6), (6, 12), (12, 25), (25, 60), (60, np.inf))


def space_psf() -> np.ndarray:
    y, x = np.indices((15, 15)) - 7
    kernel = np.exp(-(x**2 + y**2) / 2) + 0.04 * np.exp(-np.hypot(x, y) / 3)
    return kernel / kernel.sum()


PSF = space_psf()
X, Y = Observation(np.ones((N, N)), np.ones((N, N)), PSF, pixel_scale=SCALE).coordinates()
BEYOND = np.hypot(X, Y) > RADIUS


def sersic(x: float, y: float, size: float, index: float, q: float, phi: float) -> np.ndarray:
    """A Sersic profile of total 1 behind the PSF; a size below a pixel makes a star."""
    dx, dy = X - x, Y - y
    along, across = dx * np.cos(phi) + dy * np.sin(phi), dy * np.cos(phi) - dx * np.sin(phi)
    radius = np.hypot(np.hypot(along * np.sqrt(q), across / np.sqrt(q)), 0.02)
    light = np.exp(-(2 * index - 1 / 3) * ((radius / size) ** (1 / index) - 1))
    return scipy.signal.fftconvolve(light / light.sum(), PSF, mode="same")


def look(light: np.ndarray, rng: np.random.Generator) -> tuple[Contaminants, np.ndarray]:
    noise = np.sqrt(RMS**2 + light / SECONDS)
    image = light + noise * rng.normal(size=light.shape)
    return find_contaminants(Observation(image, noise, PSF, pixel_scale=SCALE), RADIUS), noise


def main(n: int) -> None:
    rng, lens = np.random.default_rng(5), LensModel()
    sources = np.asarray(galaxies(3, n), np.float32)
    operator = LensOperator(lens, (N, N), SCALE, sources.shape[-1], 3.0, PSF, None, 2)
    lensed = jax.jit(lambda p, x: operator(p) @ x)
    in_vain, rows = {"noise": [], "arcs": [], "arcs and lens light": []}, []
    for k in range(n):
        p = lens.space.from_normal(jax.random.normal(jax.random.key(k), (lens.space.size,)))
        arcs = np.asarray(lensed(p, jnp.asarray(sources[k])), float)
        arcs *= 0.1 * 10 ** rng.uniform(-0.7, 0.7) / arcs.max()
        shape = rng.uniform(0.8, 2.5), rng.uniform(2.5, 5), rng.uniform(0.6, 1), rng.uniform(0, np.pi)
        light = 10 ** rng.uniform(2, 3.3) * sersic(*rng.normal(0, 0.05, 2), *shape)
        for what, base in zip(in_vain, (0 * arcs, arcs, arcs + light), strict=True):
            found, _ = look(base, rng)
            in_vain[what].append((len(found.masked), len(found.doubtful)))
        r, angle = rng.uniform(3.0, 4.9), rng.uniform(0, 2 * np.pi)
        x, y = r * np.cos(angle), r * np.sin(angle)
        star = k % 2 == 0
        shape = (0.01, 1, 1, 0) if star else (rng.uniform(0.1, 0.6), rng.uniform(0.7, 3), rng.uniform(0.4, 1), angle)
        neighbour = sersic(x, y, *shape)
        # 2 to 200 times the noise of the lens's and the sky's light, all its pixels taken together
        noise = np.sqrt(RMS**2 + (arcs + light) / SECONDS)
        neighbour *= 10 ** rng.uniform(0.3, 2.3) / np.sqrt(np.sum((neighbour / noise) ** 2))
        found, noise = look(arcs + light + neighbour, rng)
        seen = any(np.hypot(one.x - x, one.y - y) < 0.35 for one in found.masked)
        filtered = scipy.signal.fftconvolve(neighbour / noise**2, PSF[::-1, ::-1], mode="same")
        peak = (filtered / np.sqrt(scipy.signal.fftconvolve(noise**-2, PSF[::-1, ::-1] ** 2, mode="same"))).max()
        rows.append((star, peak, seen, (neighbour / noise)[BEYOND & ~found.mask].max()))
    print("found in vain:", *(f"{what}: {np.sum(v, 0)[0]} masked in {np.sum(np.array(v)[:, 0] > 0)} of {n} images, "
                              f"{np.sum(v, 0)[1]} named" for what, v in in_vain.items()), sep="\n  ")  # fmt: skip
    for low, high in BANDS:
        for name, star in (("stars", True), ("galaxies", False)):
            some = [row for row in rows if row[0] == star and low <= row[1] < high]
            if some:
                left = [row[3] for row in some if row[2]]
                print(f"{name} of peak S/N {low} to {high}: {sum(row[2] for row in some)} of {len(some)} found; "
                      f"brightest pixel left of those {max(left, default=0):.2f} sigma")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 70)
