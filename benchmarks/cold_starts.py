"""Is the truth's mode among the modes that the cold start keeps? On paper-like systems.

python benchmarks/cold_starts.py OUT --systems 100 [--first 0] [--free]
python benchmarks/cold_starts.py OUT --table

The first form runs the systems that OUT does not hold yet (start several at once, of different --first, for several
cores). Systems: a procedural galaxy of 6.24" behind a random lens, 64 x 64 pixels of 0.1875", PSF 0.375", noise 0.35,
8 x 8 rays a pixel, as `blindlens simulate` makes them. The flux is unknown (the prior on sources is of one brightness);
--free: the source's field is unknown too, as for real data.

The truth's mode: where Levenberg-Marquardt arrives from the true lens with the evidence of the sampler. Found,
strictly: a kept mode lies within 3 Laplace standard deviations per root dimension of it. Found, up to the source's
grid: the same without (xs, ys) and the flux, in the marginal covariance of the rest; the pixel grid makes modes of the
source position, and the sampler moves between them by itself. As good: a kept mode has at least its posterior less half
a nat. Control: one draw from the prior, polished alone; the first 25 systems have one.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from blindlens.config import RunConfig
from blindlens.inference.evidence import Evidence
from blindlens.inference.initialise import initialise, polish
from blindlens.inference.problem import build_problem
from blindlens.inference.scales import image_scales
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import System, simulate
from blindlens.prior import GaussianPrior, load_prior
from blindlens.prior.galaxies import galaxies
from blindlens.progress import Progress
from blindlens.storage import load_arrays, save_arrays

FOV, SEED, CONTROLS = 6.24, 2026, 25


def system(k: int, lens: LensModel) -> System:
    """System number k."""
    return simulate(jax.random.fold_in(jax.random.key(SEED), k), galaxies(SEED + k, 1), lens, fov=FOV)[0]


def flux(made: System, prior: GaussianPrior) -> jnp.ndarray:
    """The flux scale at which the prior's mean has the true source's flux."""
    mean = prior.scale * prior.mean + prior.offset
    return jnp.sum(mean * made.source) / jnp.sum(mean**2)


def run(k: int, free: bool, out: Path) -> None:
    """One system: the kept modes, the truth's mode and its factor, the control's end, and their log posteriors."""
    path = out / f"{'free' if free else 'known'}-{k:03d}.safetensors"
    if path.is_file():
        return
    lens, prior = LensModel(), load_prior("galaxy-gaussian", 64)
    assert isinstance(prior, GaussianPrior)
    made = system(k, lens)
    # the whole image, so that one program serves all systems
    config = RunConfig().replace(trim=False, contaminants="keep", source_fov=None if free else FOV)
    key = jax.random.fold_in(jax.random.key(SEED), 10_000 + k)
    begin = time.perf_counter()
    start = initialise(key, made.observation, prior, lens, config, Progress())
    seconds = time.perf_counter() - begin
    part = made.observation.cropped(start.shape)
    problem = build_problem(part, prior, lens, config, start.fov, image_scales(made.observation, config))
    full = Evidence(problem, start.informed.basis, prior.mean)
    truth = problem.space.to_normal(
        {name: jnp.asarray(value) for name, value in made.truth.items()} | {"flux_scale": flux(made, prior)}
    )
    first = [truth]
    if k < CONTROLS:
        first.append(jax.random.normal(key, truth.shape))
    ends = polish(full, jnp.stack(first), config.initialise.polish_steps)
    arrays = {
        "kept": start.modes.eta,
        "kept_log_posterior": start.modes.log_posterior,
        "truth": truth,
        "truth_log_posterior": full.log_posterior(truth),
        "mode": ends.eta[0],
        "factor": ends.factor[0],
        "control": ends.eta[1:],
        "ends_log_posterior": ends.log_posterior,
    }
    header = {"seconds": seconds, "fov": start.fov, "shape": list(start.shape)}
    save_arrays(path, {name: np.asarray(value) for name, value in arrays.items()}, header)
    print(f"{path.name}: {header} {verdict(path)}", flush=True)


NAMES = ("truth's mode kept", "up to the source's grid", "one as good kept", "control")


def verdict(path: Path) -> tuple[bool, ...]:
    """NAMES in turn."""
    a, _ = load_arrays(path)
    covariance = a["factor"] @ a["factor"].T

    def found(eta: np.ndarray, used: slice) -> bool:
        move = (eta - a["mode"])[used]
        return bool(move @ np.linalg.solve(covariance[used, used], move) < 9 * len(move))

    mass, every = slice(0, 10), slice(None)
    as_good = a["kept_log_posterior"].max() > a["ends_log_posterior"][0] - 0.5
    strict, grid = (any(found(eta, used) for eta in a["kept"]) for used in (every, mass))
    control = any(found(eta, mass) for eta in a["control"])
    return strict, grid, bool(as_good), control


def gaps(path: Path) -> tuple[float, float]:
    """Log posterior of the truth's mode over that of the truth, and of the best kept mode over the truth's."""
    a, _ = load_arrays(path)
    mode = a["ends_log_posterior"][0]
    return float(mode - a["truth_log_posterior"]), float(a["kept_log_posterior"].max() - mode)


def table(out: Path) -> None:
    """Print the counts."""
    for kind in ("known", "free"):
        paths = sorted(out.glob(f"{kind}-*.safetensors"))
        if not paths:
            continue
        results = np.array([verdict(path) for path in paths])
        seconds = np.median([load_arrays(path)[1]["seconds"] for path in paths])
        kept = np.mean([len(load_arrays(path)[0]["kept"]) for path in paths])
        print(f"{kind}: {len(paths)} systems, {kept:.1f} modes kept, median {seconds:.0f} s; ", end="")
        print(", ".join(f"{name} {n}" for name, n in zip(NAMES, results.sum(0), strict=True)))
        missed = [path.stem for path, (_, yes, *_) in zip(paths, results, strict=True) if not yes]
        print(f"  not kept, up to the grid: {' '.join(missed) or 'none'}")
        nats = np.array([gaps(path) for path in paths])
        for name, column in zip(
            ("truth's mode over the truth", "best kept over the truth's mode"), nats.T, strict=True
        ):
            print(f"  {name}, nats: least, median, greatest {np.quantile(column, [0, 0.5, 1]).round(1)}")
        for path, row in zip(paths, nats, strict=True):
            if path.stem in missed:
                print(f"  {path.stem}: {row.round(1)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--free", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.out)
        return
    for k in range(arguments.first, arguments.first + arguments.systems):
        run(k, arguments.free, arguments.out)


if __name__ == "__main__":
    main()
