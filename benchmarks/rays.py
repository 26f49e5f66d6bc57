"""What fewer rays than source pixels cost: chi2 of the error of the image, by rays per pixel, on small source pixels.

python benchmarks/rays.py [--systems 6]

The lenses of benchmarks/lens_light_systems.py, their sources of 64 pixels on a field of 1.1", so that an image pixel of
0.05" holds three; images with 1 to 4 rays a pixel and side, cubic interpolation, against 12; noise such that the
brightest arc has a signal-to-noise of 25. chi2 goes with the square of that.
"""

import argparse

import jax.numpy as jnp
import numpy as np
from lens_light_systems import PIXELS, SCALE, SEED, moffat, system

from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.prior.galaxies import galaxies

FOV, SIGNAL = 1.1, 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", type=int, default=6)
    count = parser.parse_args().systems
    sources = galaxies(SEED, count)
    print(f"{'rays':>6}{'chi2, median':>15}{'greatest':>12}{'largest error / noise':>25}")
    lines: dict[int, list[tuple[float, float]]] = {rays: [] for rays in (1, 2, 3, 4)}
    for k in range(count):
        p = {name: jnp.asarray(value) for name, value in system(k).truth.items()}

        def image(rays: int, p=p, k=k) -> np.ndarray:
            how = {"supersampling": rays, "interpolation": "cubic", "core": 12}
            operator = LensOperator(LensModel(), (PIXELS, PIXELS), SCALE, 64, FOV, moffat(0.11 / SCALE, 3.5, 10), **how)
            return np.asarray(operator(p) @ jnp.asarray(sources[k]), float)

        best = image(12)
        for rays, found in lines.items():
            error = (image(rays) - best) * SIGNAL / best.max()
            found.append((float(np.sum(error**2)), float(np.abs(error).max())))
    for rays, found in lines.items():
        chi2, largest = np.array(found).T
        print(f"{rays:6d}{np.median(chi2):15.3f}{chi2.max():12.3f}{largest.max():25.3f}")


if __name__ == "__main__":
    main()
