"""The lens and the source of `source_complex` under other noise: does `galaxy64` find its Einstein radius?

python benchmarks/source_complex_again.py OUT --images 6 [--first 0] [--draws 20] [--config FILE]
python benchmarks/source_complex_again.py OUT --table

The first form runs what OUT does not hold yet (start several at once, of different --first, for several cores). The
image is the truth's (`source_complex.py`), pixels integrated over by 8 x 8 rays, under its PSF, with noise of the size
that it has there; the run has default settings (or those of FILE) but for 2 chains. The second prints, of each image,
by how many standard deviations the Einstein radius is off: as sampled, and of one Gauss-Newton step with the source's
true family; then the other parameters', on average and the ends.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
import scipy.stats
from rich.console import Console
from source_complex import FOLDER, LENS, NAMES, model, noise_model, step, truth

from blindlens import Observation, Posterior
from blindlens.config import RunConfig
from blindlens.devices import prepare_jax
from blindlens.inference.pipeline import infer
from blindlens.progress import Progress

SUB, REIN = 8, NAMES.index("Rein")


def observed(k: int) -> Observation:
    """Image number k."""
    given = Observation.from_fits(*(FOLDER / f"{name}.fits" for name in ("data", "noise_map", "psf")))
    gain, sky = noise_model(given)
    ideal = np.asarray(jax.jit(model(given, SUB))(truth()), float)
    noise = np.sqrt(gain * ideal + sky)
    image = ideal + noise * np.random.default_rng(k).standard_normal(noise.shape)
    return Observation(image=image, noise=noise, psf=given.psf, pixel_scale=given.pixel_scale)


def run(k: int, draws: int, out: Path, given: RunConfig) -> None:
    """Image number k: posterior.nc."""
    folder = out / f"image{k:02d}"
    if not (folder / "posterior.nc").is_file():
        config = given.replace(chains=2, draws=draws)
        infer(observed(k), config=config, out=folder, progress=Progress(Console(stderr=True)))


def of_the_family(k: int) -> float:
    """By how many standard deviations the source's true family puts the Einstein radius off, in double precision."""
    observation = observed(k)
    image = model(observation, SUB)
    p = truth()
    r = ((observation.image - np.asarray(image(p))) / observation.noise).ravel()
    W = np.asarray(jax.jit(jax.jacfwd(image))(p)).reshape(-1, p.size) / observation.noise.reshape(-1, 1)
    move, sd, _ = step(W, r)
    return float(move[REIN] / sd[REIN])


def table(out: Path) -> None:
    """Print one line an image."""
    jax.config.update("jax_enable_x64", True)
    sampled, family, others, a_3 = [], [], [], []
    for path in sorted(out.glob("image*/posterior.nc")):
        k, posterior = int(path.parent.name[5:]), Posterior.load(path)
        Rein = posterior.lens["Rein"].values
        sampled.append((Rein.mean() - LENS[REIN]) / Rein.std())
        family.append(of_the_family(k))
        draws = {name: posterior.lens[name].values for name in NAMES[:8]}
        others.append([(draws[name].mean() - LENS[i]) / draws[name].std() for i, name in enumerate(draws)])
        a_3.append(float(posterior.lens["a_3"].values.mean()))
        summary = posterior.summary()
        print(
            f"image {k}: Rein {Rein.mean():.4f} ± {Rein.std():.4f}, {sampled[-1]:+.2f} sd "
            f"(r_hat {summary['parameters']['Rein']['r_hat']:.2f}), the true family {family[-1]:+.2f} sd; "
            f"chi2/pixel {summary['chi2_per_pixel']:.3f}"
        )
    for words, z in (("sampled", np.array(sampled)), ("the true family", np.array(family))):
        inside, error = np.sum(np.abs(z) < 2), 1 / np.sqrt(len(z))
        print(
            f"{words}: within 2 sd {inside} of {len(z)}, mean {z.mean():+.2f} ± {error:.2f}, "
            f"sum of squares {np.sum(z**2):.1f}, p {scipy.stats.chi2.sf(np.sum(z**2), len(z)):.3f}"
        )
    z = np.array(others)
    for i, name in enumerate(NAMES[:8]):
        print(f"{name}: {z[:, i].mean():+.2f} sd on average, {z[:, i].min():+.1f} to {z[:, i].max():+.1f}")
    print(f"a_3 (0 is true): {min(a_3):.4f} to {max(a_3):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    prepare_jax()
    if arguments.table:
        table(arguments.out)
        return
    given = RunConfig.load(arguments.config) if arguments.config else RunConfig()
    for k in range(arguments.first, arguments.first + arguments.images):
        run(k, arguments.draws, arguments.out, given)


if __name__ == "__main__":
    main()
