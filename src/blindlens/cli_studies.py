"""Commands on many simulated systems."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from . import __version__
from .config import CoverageConfig, Method, RunConfig
from .devices import prepare_jax
from .errors import BlindlensError, Interrupted
from .progress import Progress
from .storage import atomic_write, write_text


def simulate(*, n: Annotated[int, Parameter(name="--n")], seed: int = 0, out: Path) -> None:
    """Make systems of a procedural galaxy behind a random lens, in the set-up of arXiv:2511.04792.

    Each gets a folder with image.fits, source.fits and truth.json.

    Parameters
    ----------
    n
        Number of systems.
    seed
        Of all random numbers; system k is the same whatever n is.
    out
        Folder that receives the systems.
    """
    if n < 1:
        raise BlindlensError(f"--n must be at least 1, not {n}")
    prepare_jax()
    import numpy as np
    from astropy.io import fits

    from .lens.mass import LensModel
    from .lens.simulate import simulate as simulate_systems
    from .lens.simulate import simulation_key
    from .prior.galaxies import galaxies

    fov = 6.24
    progress = Progress(Console(stderr=True))
    with progress.stage("simulate", n) as bar:
        systems = simulate_systems(simulation_key(seed), galaxies(seed, n), LensModel(), fov=fov)
        for system in systems:
            folder = out / system.observation.name
            system.observation.to_fits(folder / "image.fits")
            with atomic_write(folder / "source.fits") as temporary:
                fits.PrimaryHDU(system.source.astype(np.float32)).writeto(temporary)
            truth = {"lens": system.truth, "source_fov": fov, "seed": seed, "version": __version__}
            write_text(folder / "truth.json", json.dumps(truth, indent=2) + "\n")
            bar.advance()


def reproduce(*, config: str = "reproduce", prior: str | None = None, seed: int | None = None, out: Path) -> None:
    """Run the experiment of arXiv:2511.04792: four simulated systems, its sampler, its figures.

    The same command resumes; docs/reproduce.md says what to expect.

    Parameters
    ----------
    config
        A YAML file, or a preset; reproduce is the paper's, cut to fit two CPU cores in about an hour.
    prior
        A prior's name in the package, or a path.
    seed
        Of the systems and all else.
    out
        Folder that receives a folder a system, the figures and README.md.
    """
    prepare_jax()
    given = {key: value for key, value in {"prior": prior, "seed": seed}.items() if value is not None}
    run = RunConfig.load(config).replace(**given)
    write_text(out / "config.yaml", run.to_yaml())
    progress = Progress(Console(stderr=True))

    from .reproduce import reproduce as run_experiment

    try:
        lines = run_experiment(out, run, progress)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: what is done is kept in {out}; the same command resumes") from None
    for line in lines:
        chi2 = ", ".join(f"{value:.3f}" for value in line["chi2 of the draws"])
        progress.say(
            f"{line['system']}: chi2 per pixel of the draws {chi2}; of the truth {line['chi2 of the truth']:.3f}"
        )
    progress.say(f"figures and README.md in {out}")


def coverage(
    *,
    n: Annotated[int, Parameter(name="--n")],
    config: str = "gaussian",
    sources: str | None = None,
    prior: str | None = None,
    method: Method | None = None,
    seed: int | None = None,
    together: int = 1,
    out: Path,
) -> None:
    """Simulate systems, infer each, and test whether their truths lie in the posteriors as they should.

    The same command resumes; with a greater --n it goes on. docs/coverage.md says what is tested and what came out.

    Parameters
    ----------
    n
        Number of systems.
    config
        A YAML file, or a preset: gaussian, galaxy64.
    sources
        prior (draws of the prior that infers), procedural:N:SEED, or a folder or file of images.
    prior
        A prior's name in the package, or a path.
    method
        As in infer.
    seed
        Of the systems and all else.
    together
        How many systems one program samples (score priors): many on a GPU, 1 on a CPU.
    out
        Folder that receives a folder a system, coverage.json, coverage.png and README.md.
    """
    if n < 2:
        raise BlindlensError(f"--n must be at least 2, not {n}")
    if together < 1:
        raise BlindlensError(f"--together must be at least 1, not {together}")
    prepare_jax()
    study = CoverageConfig.load(config)
    given = {key: v for key, v in {"prior": prior, "method": method, "seed": seed}.items() if v is not None}
    systems = {} if sources is None else {"sources": sources}
    study = study.replace(run={**study.run.model_dump(), **given}, systems={**study.systems.model_dump(), **systems})
    progress = Progress(Console(stderr=True))

    from .coverage import coverage as run_study

    try:
        figures = run_study(out, n, study, progress, together)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: what is done is kept in {out}; the same command resumes") from None
    for group, found in figures["draws"].items():
        inside = "inside" if found["TARP inside the 95 % band"] else "OUTSIDE"
        progress.say(f"{group}: TARP {inside} the 95 % band, p {found['TARP p']:.2g}")
    progress.say(f"{figures['systems']} systems, {figures['failed']} failed; tables and figure in {out}")
