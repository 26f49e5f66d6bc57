"""Simulated HST lenses with the lens galaxy's light and a neighbour each, inferred as a user would: are truths inside?

python benchmarks/lens_light_systems.py OUT --systems 30 [--first 0] [--config FILE]
python benchmarks/lens_light_systems.py OUT --table

The first form runs what OUT does not hold yet (start several, of different --first, for several cores); the second
prints, by parameter, the rms of (mean - truth)/sd, and how many Einstein radii are off by more than 5 %.

Images of 120 x 120 pixels of 0.05": a procedural galaxy behind a power law with shear and an m = 3 multipole; a Sersic
galaxy near the mass's centre with 0.3 to 30 times the flux of the lensed source; a neighbour (a Sersic profile or a
point) anywhere off the centre; a PSF of 0.11" with wings; Poisson noise of all light over a background. Made with 4 x 4
rays a pixel, the kernel sampled on pixels. What is inferred is told the image, the noise, the PSF and the pixel scale.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal
import scipy.stats
from rich.console import Console

from blindlens import Posterior
from blindlens.config import RunConfig
from blindlens.devices import prepare_jax
from blindlens.errors import BlindlensError
from blindlens.inference.pipeline import infer
from blindlens.lens.light import sersic
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator, Rays
from blindlens.observation import Observation
from blindlens.posterior import period
from blindlens.prior.galaxies import galaxies
from blindlens.progress import Progress
from blindlens.storage import write_text

SEED, PIXELS, SCALE, RAYS = 61, 120, 0.05, 4
RANGES = {"Rein": (0.7, 1.5), "q": (0.5, 0.95), "t": (0.8, 1.2), "xs": (-0.3, 0.3), "ys": (-0.3, 0.3)}


class Made(NamedTuple):
    """A system: the observation, the truth, and what else was put in."""

    observation: Observation
    truth: dict[str, float]
    parts: dict[str, Any]


def moffat(fwhm: float, beta: float, half: int) -> np.ndarray:
    """A Moffat kernel, (2 half + 1) pixels a side, sum 1; fwhm in pixels."""
    axis = np.arange(-half, half + 1)
    width = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    kernel = (1 + (axis[:, None] ** 2 + axis[None] ** 2) / width**2) ** -beta
    return kernel / kernel.sum()


def system(k: int) -> Made:
    """System number k, whatever the number of systems."""
    rng = np.random.default_rng([SEED, k])
    lens = LensModel(ranges=RANGES)
    drawn = lens.space.sample(jax.random.fold_in(jax.random.key(SEED), k))
    truth = {name: float(value) for name, value in drawn.items()}
    fov, shape = float(rng.uniform(1.8, 3.0)), (PIXELS, PIXELS)
    psf = moffat(0.11 / SCALE, 3.5, 10)
    operator = LensOperator(lens, shape, SCALE, 64, fov, psf, supersampling=RAYS, interpolation="cubic", core=8)
    source = np.asarray(galaxies(SEED, k + 1)[k])
    arcs = np.asarray(operator({n: jnp.asarray(v) for n, v in truth.items()}) @ jnp.asarray(source), float)
    rays = Rays.grid(shape, SCALE, RAYS)

    def profile(**p: float) -> np.ndarray:
        image = sersic({n: jnp.asarray(v) for n, v in {"I_e": 1.0, **p}.items()}, rays.x, rays.y).mean(0)
        return scipy.signal.fftconvolve(np.asarray(image, float), psf, mode="same")

    galaxy = {
        "x0": truth["x0"] + rng.normal(0, 0.02),
        "y0": truth["y0"] + rng.normal(0, 0.02),
        "q": float(np.clip(truth["q"] + rng.normal(0, 0.08), 0.4, 0.98)),
        "phi": truth["phi"] + rng.normal(0, 0.15),
        "n": float(rng.uniform(2, 6)),
        "R_e": float(np.exp(rng.uniform(np.log(0.5), np.log(2.0)))),
    }
    ratio = float(np.exp(rng.uniform(np.log(0.3), np.log(30))))
    light = profile(**galaxy)
    light *= ratio * arcs.sum() / light.sum()
    r, angle = rng.uniform(0.6, 0.48 * PIXELS * SCALE), rng.uniform(0, 2 * np.pi)
    neighbour = {"x0": r * np.cos(angle), "y0": r * np.sin(angle), "q": float(rng.uniform(0.5, 1)), "phi": 0.0}
    neighbour |= {"n": float(rng.uniform(0.5, 3)), "R_e": float(rng.choice([0.02, rng.uniform(0.05, 0.25)]))}
    foreign = profile(**neighbour)
    foreign *= rng.uniform(0.5, 3) * arcs.max() / foreign.max()
    whole = arcs + light + foreign
    background = arcs.max() / np.exp(rng.uniform(np.log(10), np.log(60)))
    counts = (
        rng.uniform(0.5, 2) / background**2 * arcs.max() / 20
    )  # electrons a unit: arcs add to the noise, cores far more
    sigma = np.sqrt(background**2 + np.clip(whole, 0, None) / counts)
    image = whole + sigma * rng.normal(size=shape)
    parts = {"ratio": ratio, "fov": fov, "arcs S/N": float((arcs / sigma).max()), "light": galaxy}
    parts |= {"neighbour": {**neighbour, "peak S/N": float((foreign / sigma).max())}}
    return Made(Observation(image, sigma, psf, None, SCALE, f"system{k:04d}"), truth, parts)


def run(k: int, config: RunConfig, out: Path) -> None:
    """One system: posterior.nc and the truth beside it."""
    made, folder = system(k), out / f"system{k:04d}"
    if (folder / "posterior.nc").is_file():
        return
    infer(made.observation, config=config, out=folder, progress=Progress(Console(stderr=True)))
    write_text(folder / "truth.json", json.dumps({"lens": made.truth, "source_fov": made.parts["fov"]}))


def scores(posterior: Posterior, truth: dict[str, float]) -> dict[str, float]:
    """(mean - truth) / sd of q, phi, ... in coordinates that do not wrap."""
    lens = {str(name): values.values.ravel() for name, values in posterior.lens.items()}
    pairs = {"q": "phi"} | {name: f"phi_{name[2:]}" for name in truth if name.startswith("a_")}
    z = {}
    for name, true in truth.items():
        if name in pairs:
            fold = 2 * np.pi / period(pairs[name])
            size = (lambda q: (1 - q) / (1 + q)) if name == "q" else (lambda a: a)
            for part, turn in (("cos", np.cos), ("sin", np.sin)):
                draws = size(lens[name]) * turn(fold * lens[pairs[name]])
                z[f"{name} {part}"] = (draws.mean() - size(true) * turn(fold * truth[pairs[name]])) / draws.std()
        elif name not in pairs.values():
            z[name] = (lens[name].mean() - true) / lens[name].std()
    return {name: float(value) for name, value in z.items()}


def table(out: Path) -> None:
    """Print one line a system, then the summary."""
    rows, wrong = [], 0
    print(f"{'system':8}{'light':>8}{'S/N':>8}{'Rein':>8}{'off %':>8}{'rms z':>8}{'chi2':>8}{'r_hat':>8}{'min':>6}")
    for path in sorted(out.glob("system*/posterior.nc")):
        k = int(path.parent.name[6:])
        posterior, made = Posterior.load(path), system(k)
        z, summary = scores(posterior, made.truth), posterior.summary()
        off = 100 * (posterior.mean()["Rein"] / made.truth["Rein"] - 1)
        wrong += abs(off) > 5
        rows.append(z)
        worst = max(row["r_hat"] or np.inf for row in summary["parameters"].values())
        print(
            f"{k:<8d}{made.parts['ratio']:8.2f}{made.parts['arcs S/N']:8.1f}{made.truth['Rein']:8.3f}{off:8.2f}"
            f"{np.sqrt(np.mean(np.square(list(z.values())))):8.2f}{summary['chi2_per_pixel']:8.3f}{worst:8.2f}"
            f"{sum(summary['times'].values()) / 60:6.1f}"
        )
    rms = {name: np.sqrt(np.mean([row[name] ** 2 for row in rows])) for name in rows[0]}
    print("rms of (mean - truth)/sd: " + ", ".join(f"{name} {value:.2f}" for name, value in rms.items()))
    every = np.array([list(row.values()) for row in rows])
    print(f"all: rms {np.sqrt(np.mean(every**2)):.2f}, median |z| {np.median(np.abs(every)):.2f} (0.67)")
    print(f"{wrong} of {len(rows)} Einstein radii off by more than 5 %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--config", default="default")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    prepare_jax()
    if arguments.table:
        table(arguments.out)
        return
    config = RunConfig.load(arguments.config)
    for k in range(arguments.first, arguments.first + arguments.systems):
        try:
            run(k, config, arguments.out)
        except BlindlensError as error:
            print(f"system{k:04d}: {error}", flush=True)


if __name__ == "__main__":
    main()
