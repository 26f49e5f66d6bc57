"""What too few rays cost: chi2 of the error of the image, by rays per pixel.

python benchmarks/rays.py [--systems 6]
python benchmarks/rays.py --paper [--systems 8] [--first 0] [--signal 100]

Source pixels that are small: the lenses of benchmarks/lens_light_systems.py, their sources of 64 pixels on a field of
1.1", so that an image pixel of 0.05" holds three; noise such that the brightest arc has a signal-to-noise of 25. Or
--paper: the systems of benchmarks/galaxy_systems.py, in which an image pixel is 1.9 source pixels wide; a
signal-to-noise of 100. Images with 1 to 8 rays a pixel and side, cubic interpolation, against 12. chi2 goes with the
square of the signal-to-noise, which --signal sets.
"""

import argparse
from collections.abc import Callable, Iterator

import galaxy_systems
import jax.numpy as jnp
import numpy as np
from lens_light_systems import PIXELS, SCALE, SEED, moffat, system

from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.prior.galaxies import galaxies

FOV, BEST = 1.1, 12
Image = Callable[[int], np.ndarray]


def small_pixels(numbers: range) -> Iterator[Image]:
    """Of each system, the image by rays per pixel and side."""
    psf = moffat(0.11 / SCALE, 3.5, 10)
    sources = galaxies(SEED, numbers.stop)
    for k in numbers:
        yield image_of(system(k).truth, sources[k], (PIXELS, PIXELS), SCALE, FOV, psf)


def paper(numbers: range) -> Iterator[Image]:
    """The same of the paper's set-up."""
    for k in numbers:
        made = galaxy_systems.system(k)
        seen = made.observation
        yield image_of(made.truth, made.source, seen.shape, seen.pixel_scale, galaxy_systems.FOV, seen.psf)


def image_of(truth, source: np.ndarray, shape: tuple[int, int], scale: float, fov: float, psf: np.ndarray) -> Image:
    p = {name: jnp.asarray(value) for name, value in truth.items()}

    def image(rays: int) -> np.ndarray:
        how = {"supersampling": rays, "interpolation": "cubic", "core": BEST}
        operator = LensOperator(LensModel(), shape, scale, source.shape[-1], fov, psf, **how)
        return np.asarray(operator(p) @ jnp.asarray(source), float)

    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", type=int, default=6)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--signal", type=float)
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.systems)
    images, signal = (paper(numbers), 100.0) if given.paper else (small_pixels(numbers), 25.0)
    signal = signal if given.signal is None else given.signal
    lines: dict[int, list[tuple[float, float]]] = {rays: [] for rays in (1, 2, 3, 4, 5, 6, 8)}
    for image in images:
        best = image(BEST)
        for rays, found in lines.items():
            error = (image(rays) - best) * signal / best.max()
            found.append((float(np.sum(error**2)), float(np.abs(error).max())))
    print(f"{'rays':>6}{'chi2, median':>15}{'greatest':>12}{'largest error / noise':>25}")
    for rays, found in lines.items():
        chi2, largest = np.array(found).T
        print(f"{rays:6d}{np.median(chi2):15.3f}{chi2.max():12.3f}{largest.max():25.3f}")


if __name__ == "__main__":
    main()
