"""What the sampler of score priors says of systems that are not what it is told: coverage under shift.

python benchmarks/shifts.py OUT [--shift NAME ...] [--systems 30]
python benchmarks/shifts.py OUT --table

The study of tests/statistical/test_mixture_prior.py (18 x 18 pixels, 12 lens parameters, sources drawn from a mixture
of Gaussians, cold starts, `renoise` with 4 chains of 32 draws), each time with one thing wrong. The same command goes
on where it was stopped; shifts may run side by side. The second form prints the table of docs/coverage.md.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from blindlens.config import CoverageConfig
from blindlens.coverage import coverage, setting, system
from blindlens.coverage.places import coordinates, normal
from blindlens.devices import prepare_jax
from blindlens.posterior import Posterior
from blindlens.progress import Progress

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path += [str(TESTS), str(TESTS / "statistical")]
from conftest import SMALL_RUN  # noqa: E402
from mixture import galaxies, in_studies  # noqa: E402
from test_mixture_prior import STUDY  # noqa: E402

SUBHALO = {
    **SMALL_RUN["lens"],
    "mass": ("epl", "shear", "multipole3", "nfw_subhalo"),
    "ranges": {**SMALL_RUN["lens"]["ranges"], "log_m200": (9.95, 10.05)},
    "z_lens": 0.5,
    "z_source": 2.0,
}
SHIFTS: dict[str, dict[str, Any]] = {
    "none": {},
    "noise half as large, and known": {"noise": 0.5},
    "noise 1.25 times what is said": {"noise_error": 0.8},
    "PSF 10 % narrower than is said": {"psf_error": 1.1},
    "PSF 10 % wider than is said": {"psf_error": 0.9},
    "sources of another kind": {"sources": "procedural:1000:7", "brightness": 2.0},
    "a subhalo more": {"lens": SUBHALO},
}


def study(shift: str) -> CoverageConfig:
    return CoverageConfig.from_mapping({**STUDY, "systems": {**STUDY["systems"], **SHIFTS[shift]}})


def folder(out: Path, shift: str) -> Path:
    return out / shift.replace(" ", "_").replace(",", "").replace("%", "percent")


def row(out: Path, shift: str) -> list[str]:
    """Cells of one line; z is (mean - truth) / sd by lens coordinate, over systems."""
    config, where = study(shift), folder(out, shift)
    told = json.loads((where / "coverage.json").read_text())
    of = setting(config)
    z = []
    for file in sorted(where.glob("system*/posterior.nc")):
        posterior, truth = Posterior.load(file), system(of, int(file.parent.name[-4:])).truth
        space = of.lens.space
        eta = normal(space, {name: posterior.lens[name].values for name in space.names}).reshape(-1, space.size)
        z.append((eta.mean(0) - normal(space, {name: truth[name] for name in space.names})) / eta.std(0))
    rms = np.sqrt(np.mean(np.square(z), 0))
    worst, draws = int(rms.argmax()), told["draws"]
    return [
        shift,
        str(told["systems"]),
        f"{np.median(rms):.2f}, {rms[worst]:.2f} ({coordinates(of.lens.space)[worst]})",
        ", ".join(f"{draws[group]['TARP p']:.2g}" for group in ("lens", "source", "both")),
        ", ".join(f"{draws[group]['ranks, least p']:.2g}" for group in ("lens", "source")),
        f"{told['chi2_per_pixel']:.3f}",
        f"{told['r_hat below 1.05']}, {told['greatest r_hat']:.2f}",
    ]


def table(out: Path) -> None:
    columns = ["shift", "systems", "rms z of the lens: median, greatest", "TARP p: lens, source, both"]
    columns += ["least p of the ranks: lens, source", "chi2/pixel", "r_hat below 1.05, greatest"]
    print("| " + " | ".join(columns) + " |\n" + "|" + "---|" * len(columns))
    for shift in SHIFTS:
        if (folder(out, shift) / "coverage.json").is_file():
            print("| " + " | ".join(row(out, shift)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--shift", action="append", choices=tuple(SHIFTS))
    parser.add_argument("--systems", type=int, default=30)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    prepare_jax()
    with in_studies(galaxies()):
        if given.table:
            table(given.out)
            return
        for shift in given.shift or SHIFTS:
            coverage(folder(given.out, shift), given.systems, study(shift), Progress())


if __name__ == "__main__":
    main()
