"""Commands on a finished run: answers in other units, and files for other programs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from rich.console import Console

from .devices import prepare_jax
from .errors import BlindlensError
from .progress import Progress
from .storage import atomic_write, write_text

if TYPE_CHECKING:
    from .posterior import Posterior

export_app = App(name="export", help="Write a posterior for other programs.")


def write_results(posterior: "Posterior", out: Path, progress: Progress) -> None:
    """summary.json, report.html, report.png and corner.png in `out`, each atomically; warnings also to the user."""
    from .check.verdict import judged
    from .physics import derived
    from .report.corner_plot import corner_figure
    from .report.html import page
    from .report.plots import report_figure

    summary = judged(posterior)
    summary["derived"] = derived(posterior)
    write_text(out / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    for name, figure in (
        ("report.png", report_figure(posterior, summary)),
        ("corner.png", corner_figure(posterior)),
    ):
        with atomic_write(out / name) as temporary:
            figure.savefig(temporary, dpi=150)
    write_text(out / "report.html", page(posterior, summary, (out / "corner.png").read_bytes()))
    for warning in summary["warnings"]:
        progress.say(f"warning: {warning}")
    progress.say(f"chi2 per pixel {summary['chi2_per_pixel']:.3f}, {summary['verdict']['state']}; results in {out}")


def report(out: Path) -> None:
    """Make report.html, report.png, corner.png and summary.json in OUT again, from its posterior.nc.

    Parameters
    ----------
    out
        Folder of a finished run.
    """
    prepare_jax()
    from .posterior import Posterior

    write_results(Posterior.load(out / "posterior.nc"), out, Progress(Console(stderr=True)))


def derive(
    run: Path,
    *,
    z_lens: float | None = None,
    z_source: float | None = None,
    cosmology: str | None = None,
    zero_point: float | None = None,
    north_up: bool | None = None,
) -> None:
    """Position angles, kpc, solar masses, magnification and fluxes of a finished run, anew.

    What is given is kept in the run's posterior.nc; `derived` in its summary.json is replaced. Nothing is sampled.

    Parameters
    ----------
    run
        Folder that infer wrote.
    z_lens
        Redshift of the lens.
    z_source
        Redshift of the source.
    cosmology
        A name in astropy.cosmology, by default Planck18.
    zero_point
        AB magnitude of one data unit.
    north_up
        North is up and east left in an image without WCS.
    """

    from .physics import derived, settings
    from .posterior import Posterior
    from .report.words import value_with_error

    path = run / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BlindlensError(f"{path} cannot be read; give the folder of a finished run of infer") from None
    posterior = Posterior.load(run / "posterior.nc")
    physics = settings(posterior, given(z_lens, z_source, cosmology, zero_point, north_up))
    config = {**posterior.attrs["config"], "physics": physics.model_dump()}
    posterior.tree.attrs["config"] = json.dumps(config)
    table = derived(posterior, physics)
    posterior.save(run / "posterior.nc")
    write_text(path, json.dumps(summary | {"derived": table}, indent=2, allow_nan=False) + "\n")
    progress = Progress(Console(stderr=True))
    for name, row in table["values"].items():
        progress.say(f"{name} {value_with_error(row['mean'], row['sd'])} {row['unit']}".rstrip())
    for note in table["notes"]:
        progress.say(f"note: {note}")


def given(
    z_lens: float | None,
    z_source: float | None,
    cosmology: str | None,
    zero_point: float | None,
    north_up: bool | None,
) -> dict[str, Any]:
    """Those keys of the configuration's `physics` that the command line sets."""
    values = {"z_lens": z_lens, "z_source": z_source, "cosmology": cosmology, "zero_point": zero_point}
    values["north_up"] = north_up
    return {key: value for key, value in values.items() if value is not None}


@export_app.command
def coolest(
    posterior: Path,
    *,
    out: Path,
    source: bool = True,
    z_lens: float | None = None,
    z_source: float | None = None,
) -> None:
    """Write a posterior as a COOLEST template, its images as FITS files beside it.

    Parameters
    ----------
    posterior
        posterior.nc of a run.
    out
        The template, a .json file.
    source
        Write the mean source as pixels; lenstronomy's importer reads templates without it only.
    z_lens
        Redshift of the lens, by default that of the run.
    z_source
        Redshift of the source, by default that of the run.
    """
    from .conventions.coolest_file import write_coolest
    from .physics import settings
    from .posterior import Posterior
    from .report.plots import sources_in_one_frame

    loaded = Posterior.load(posterior)
    physics = settings(loaded, given(z_lens, z_source, None, None, None))
    files = write_coolest(loaded, out, physics, sources_in_one_frame(loaded).mean(0) if source else None)
    progress = Progress(Console(stderr=True))
    if physics.z_lens is None or physics.z_source is None:
        progress.say("note: without --z-lens and --z-source the template has no redshifts, which some readers need")
    progress.say(f"{files[0]} and {len(files) - 1} FITS files beside it")
