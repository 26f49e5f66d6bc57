"""The default joint sampler with a score prior on simulated lenses: truth, residuals, sharpness, time.

python benchmarks/galaxy_systems.py OUT --systems 8 [--first 0] [--prior galaxy64] [--draws 8]
python benchmarks/galaxy_systems.py OUT --table

The first form runs what OUT does not hold yet (start several at once, of different --first, for several cores); run it
for two priors to compare them. The second prints the comparison with the truth.

Systems: those of `blindlens simulate --seed 7`, procedural galaxies in the set-up of arXiv:2511.04792; the source's
field and the brightness's unit are known, all 12 lens parameters and the source are not. The whole image; 2 chains.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
import scipy.stats
from rich.console import Console

from blindlens import Posterior
from blindlens.check.convergence import r_hat
from blindlens.config import RunConfig
from blindlens.devices import prepare_jax
from blindlens.inference.pipeline import infer
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import System, simulate
from blindlens.prior.galaxies import galaxies
from blindlens.progress import Progress
from blindlens.report.plots import sources_in_one_frame
from blindlens.storage import write_text

SEED, FOV = 7, 6.24


def system(k: int) -> System:
    """System number k."""
    return simulate(jax.random.key(SEED), galaxies(SEED, k + 1), LensModel(), fov=FOV)[k]


def run(k: int, prior: str, draws: int, out: Path) -> None:
    """One system: posterior.nc and the truth beside it."""
    folder = out / f"system{k:04d}" / Path(prior).stem
    if (folder / "posterior.nc").is_file():
        return
    made = system(k)
    how = {"trim": False, "lens_light": "none", "contaminants": "keep"}
    config = RunConfig().replace(prior=prior, source_fov=FOV, flux_scale=1.0, chains=2, draws=draws, **how)
    posterior = infer(made.observation, config=config, out=folder, progress=Progress(Console(stderr=True)))
    posterior.save(folder / "posterior.nc")
    write_text(folder / "truth.json", json.dumps(made.truth))


def figures(k: int, folder: Path) -> dict[str, float]:
    """What the table has for one run."""
    posterior, made = Posterior.load(folder / "posterior.nc"), system(k)
    space = LensModel().space
    draws = {name: posterior.lens[name].values for name in space.names}
    eta = np.asarray(space.to_normal({name: jax.numpy.asarray(v) for name, v in draws.items()}))
    truth = np.asarray(space.to_normal({name: jax.numpy.asarray(v) for name, v in made.truth.items()}))
    flat = eta.reshape(-1, eta.shape[-1])
    Rein, true = draws["Rein"].ravel(), float(made.truth["Rein"])
    source = sources_in_one_frame(posterior, (made.truth["xs"], made.truth["ys"]))
    # waves shorter than ten source pixels
    kx = np.fft.fftfreq(made.source.shape[0])
    fine = np.hypot(kx[:, None], kx[None]) > 0.1
    error = np.abs(np.fft.fft2(source - made.source)[:, fine]) ** 2
    power = np.abs(np.fft.fft2(made.source)[fine]) ** 2
    return {
        "z(Rein)": (Rein.mean() - true) / Rein.std(),
        "Rein off [%]": 100 * (Rein.mean() / true - 1),
        "chi2/pixel": posterior.summary()["chi2_per_pixel"],
        "|z| of 12, median": float(np.median(np.abs((flat.mean(0) - truth) / flat.std(0)))),
        "|z| of 12, greatest": float(np.max(np.abs((flat.mean(0) - truth) / flat.std(0)))),
        "r_hat, greatest": max(r_hat(eta[..., i]) for i in range(eta.shape[-1])),
        "error of small scales": float(np.sqrt(error.sum(1).mean() / power.sum())),
        "peak S/N": made.noiseless.max() / 0.35,
        "seconds": sum(posterior.attrs["times"].values()),
    }


def table(out: Path) -> None:
    """Print one line a run, by prior."""
    for prior in sorted({path.parent.name for path in out.glob("system*/*/posterior.nc")}):
        found = sorted(out.glob(f"system*/{prior}/posterior.nc"))
        rows = [figures(int(path.parent.parent.name[6:]), path.parent) for path in found]
        print(f"\n{prior}\n{'system':8}" + "".join(f"{name:>22}" for name in rows[0]))
        for path, row in zip(found, rows, strict=True):
            print(f"{path.parent.parent.name[6:]:8}" + "".join(f"{value:22.3f}" for value in row.values()))
        z = np.array([row["z(Rein)"] for row in rows])
        inside = int(np.sum(np.abs(z) < 2))
        print(
            f"Rein within 2 sd: {inside} of {len(z)}; sum of z^2 {np.sum(z**2):.1f}, "
            f"p {scipy.stats.chi2.sf(np.sum(z**2), len(z)):.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--prior", default="galaxy64")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    prepare_jax()
    if arguments.table:
        table(arguments.out)
        return
    for k in range(arguments.first, arguments.first + arguments.systems):
        run(k, arguments.prior, arguments.draws, arguments.out)


if __name__ == "__main__":
    main()
