"""A folder a system, of which finished ones are kept, so that the same command resumes, or goes on to more systems."""

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..config import CoverageConfig, RunConfig
from ..errors import BlindlensError, CannotWrite
from ..inference.pipeline import Begun, begin, concluded, infer, sampled_together
from ..inference.stages import fingerprint
from ..lens.simulate import System
from ..posterior import Posterior
from ..progress import Progress
from ..report.coverage_plots import coverage_figure
from ..storage import atomic_write, write_text
from .systems import FEWEST, Setting, setting, system
from .tally import CONTROLS, Tally


def coverage(out: Path, n: int, config: CoverageConfig, progress: Progress, together: int = 1) -> dict[str, Any]:
    """Infer the systems 0 ... n - 1 that `out` does not hold yet, and judge all. Returns the figures of coverage.json.

    A system whose run fails is counted and left out, with the reason beside it (failure.json; without that file it is
    tried again). `together`: systems that one compiled program samples, with the sampler of score priors; what is drawn
    does not depend on it but for rounding. BlindlensError for a folder that holds another study.
    """
    study, described = setting(config), config.to_yaml()
    if study.images is not None and len(study.images) < n:
        raise BlindlensError(
            f"{config.systems.sources} holds {len(study.images)} images: ask for so many systems at most"
        )
    if (out / "config.yaml").is_file() and (out / "config.yaml").read_text(encoding="utf-8") != described:
        raise BlindlensError(f"{out} holds a study with another configuration (config.yaml); choose another folder")
    write_text(out / "config.yaml", described)
    tally = Tally(study)
    with progress.stage("systems", n) as bar:
        for first in range(0, n, together):
            group = [system(study, k) for k in range(first, min(first + together, n))]
            runs = [study.run(k) for k in range(first, first + len(group))]
            if together == 1:
                results = [one(out / group[0].observation.name, study, group[0], runs[0])]
            else:
                results = several(out, study, group, runs, progress)
            for made, result in zip(group, results, strict=True):
                name = made.observation.name
                if isinstance(result, Posterior):
                    tally.add(made, result)
                    bar.advance(chi2=tally.chi2[-1])
                    progress.say(f"{name}: chi2 per pixel {tally.chi2[-1]:.3f}")
                else:
                    bar.advance()
                    progress.say(f"{name}: failed ({result})")
    if len(tally.chi2) < 2:
        raise BlindlensError(f"{len(tally.chi2)} of {n} systems came to an end, too few to judge; {out} says why")
    figures = tally.figures() | {"failed": n - len(tally.chi2)}
    write_text(out / "coverage.json", json.dumps(figures, indent=2, allow_nan=False) + "\n")
    with atomic_write(out / "coverage.png") as temporary:
        coverage_figure(tally.uniform()).savefig(temporary, dpi=100)
    write_text(out / "README.md", page(config, figures))
    return figures


Result = TypeVar("Result")


def one(folder: Path, study: Setting, made: System, run: RunConfig) -> Posterior | str:
    """The posterior of a system, or why it has none: what the folder holds if it was made by the same, else new."""
    mark = fingerprint(made.observation, study.prior, study.lens, run)
    old = kept(folder, mark)
    new = lambda: infer(made.observation, study.prior, study.lens, run, out=folder)  # noqa: E731
    return attempt(folder, mark, new) if old is None else old


def several(
    out: Path, study: Setting, group: Sequence[System], runs: Sequence[RunConfig], progress: Progress
) -> list[Posterior | str]:
    """What `one` returns for each, those that are new sampled together."""
    found: dict[int, Posterior | str] = {}
    begun: dict[int, Begun] = {}
    folders = [out / made.observation.name for made in group]
    for i, (made, run) in enumerate(zip(group, runs, strict=True)):
        data = (made.observation, study.prior, study.lens, run)
        mark = fingerprint(*data)
        new = kept(folders[i], mark)
        if new is None:
            new = attempt(folders[i], mark, lambda i=i, data=data: begin(*data, folders[i], Progress()))
        if isinstance(new, Begun):
            begun[i] = new
        else:
            found[i] = new

    def kind(run: Begun) -> tuple[tuple[int, ...], int]:
        return run.system.problem.operator.rays_a_pixel, run.system.probes.shape[1]

    # a program has one number of rays and of the source's directions, and bright arcs take more
    for one_kind in sorted({kind(run) for run in begun.values()}):
        alike = {i: run for i, run in begun.items() if kind(run) == one_kind}
        draws = sampled_together(list(alike.values()), out, progress)
        for (i, run), drawn in zip(alike.items(), draws, strict=True):
            found[i] = attempt(folders[i], run.store.mark, lambda run=run, drawn=drawn: concluded(run, drawn))
    return [found[i] for i in range(len(group))]


def attempt(folder: Path, mark: str, what: Callable[[], Result]) -> Result | str:
    """Its result, or the reason of its failure, which is written down."""
    failure = folder / "failure.json"
    try:
        result = what()
    except CannotWrite:
        raise
    except BlindlensError as error:
        write_text(failure, json.dumps({"reason": str(error), "fingerprint": mark}) + "\n")
        return str(error)
    failure.unlink(missing_ok=True)
    return result


def kept(folder: Path, mark: str) -> Posterior | str | None:
    """What a run with this fingerprint left in the folder: a posterior, the reason why there is none, or nothing."""
    path, failure = folder / "posterior.nc", folder / "failure.json"
    with contextlib.suppress(BlindlensError):  # a file that cannot be read is made again
        if path.is_file() and (posterior := Posterior.load(path)).attrs.get("fingerprint") == mark:
            return posterior
    if failure.is_file() and (old := json.loads(failure.read_text(encoding="utf-8")))["fingerprint"] == mark:
        return old["reason"]
    return None


def page(config: CoverageConfig, figures: dict[str, Any]) -> str:
    """README.md: the tables and the figure."""
    peak, r_hat = figures["peak S/N"], figures["greatest r_hat"]
    slow = figures["worth fewer draws than are ranked"]
    few = " With fewer than 50 systems p of the ranks are rough." if figures["systems"] < 50 else ""
    lines = [
        f"{figures['systems']} systems ({figures['failed']} failed); chi2/pixel {figures['chi2_per_pixel']:.3f}; r_hat "
        f"below 1.05 in {figures['r_hat below 1.05']}, at most {'infinite' if r_hat is None else f'{r_hat:.2f}'}; "
        f"{figures['seconds']:.0f} seconds each; peak S/N {peak['least']:.0f} to {peak['greatest']:.0f}, "
        f"median {peak['median']:.0f}. In {slow} systems the ranked draws are worth fewer than {FEWEST}: these test "
        f"convergence.{few}",
        "",
        "| draws | of | ranked | TARP p | TARP in band | Mira (expected) | least p of the ranks | rejected at 1 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for what in ("draws", *CONTROLS):
        for group, found in figures[what].items():
            score = "{score:.3f} ({expected:.3f} ± {standard error:.3f})".format(**found["Mira"])
            band = "yes" if found["TARP inside the 95 % band"] else "no"
            ranks = ["", ""]
            if "ranks" in found:
                ranks = [f"{found['ranks, least p']:.2g}", "yes" if found["ranks rejected at 1 %"] else "no"]
            cells = [what, group, f"{found['draws ranked']:.0f}", f"{found['TARP p']:.2g}", band, score, *ranks]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| coordinate | p of uniform ranks | in 68 % | in 95 % | median width |", "|---|---|---|---|---|"]
    for group in ("lens", "source"):
        for name, found in figures["draws"][group]["ranks"].items():
            width = figures["median width"].get(name)
            cells = [name, f"{found['p']:.2g}", f"{found['in 68 %']:.2f}", f"{found['in 95 %']:.2f}"]
            lines.append(f"| {' | '.join([*cells, '' if width is None else f'{width:.3g}'])} |")
    lines += ["", "![coverage](coverage.png)", "", f"```yaml\n{config.to_yaml()}```", ""]
    return "\n".join(["# Coverage, by `blindlens coverage`", "", *lines])
