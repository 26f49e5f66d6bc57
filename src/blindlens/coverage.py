"""A study of coverage: many simulated systems, a posterior of each, and where the truths lie in them.

A folder a system, of which finished ones are kept, so that the same command resumes, or goes on to more systems.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .check import coverage as checks
from .check.convergence import ess, r_hat
from .check.summaries import source_summaries
from .config import CoverageConfig, RunConfig
from .errors import BlindlensError
from .inference.pipeline import infer
from .inference.problem import rays
from .inference.stages import fingerprint
from .lens.mass import LensModel
from .lens.parameters import ParameterSpace
from .lens.simulate import System, gaussian_psf, simulate, simulation_key
from .posterior import Posterior
from .prior import Denoiser, GaussianPrior, load_prior
from .prior.data import open_images
from .progress import Progress
from .report.coverage_plots import coverage_figure
from .storage import atomic_write, write_text

FEWEST = 8
"""Draws a system that are ranked, and as many that choose where to look."""
CONTROLS = {"draws 0.65 times as wide": 0.65, "draws 1.5 times as wide": 1.5}
"""What the same tests must reject: the draws moved towards their mean, or away from it."""


class Setting(NamedTuple):
    """What all systems share. components: (n*n, m), of the surrogate prior, and its mean, in surface brightness."""

    config: CoverageConfig
    prior: Denoiser
    lens: LensModel
    mean: np.ndarray
    components: np.ndarray

    def run(self, k: int) -> RunConfig:
        """How system number k is inferred."""
        run, systems = self.config.run, self.config.systems
        return run.replace(source_fov=systems.source_fov, flux_scale=1.0, seed=run.seed + k)


class Vectors(NamedTuple):
    """A system's truth (d,), and its draws (S, d), independent ones, of which some were set `aside` (R, d)."""

    truth: np.ndarray
    aside: np.ndarray
    draws: np.ndarray

    def widened(self, factor: float) -> "Vectors":
        """All draws moved away from their mean."""
        middle = np.concatenate([self.aside, self.draws]).mean(0)
        return Vectors(self.truth, *(middle + factor * (part - middle) for part in (self.aside, self.draws)))


def setting(config: CoverageConfig) -> Setting:
    """Load what the study needs. BlindlensError where draws are too few to be ranked."""
    run, n = config.run, config.systems.source_pixels
    if run.chains * run.draws < 2 * FEWEST or run.draws < 4:
        raise BlindlensError(
            f"coverage ranks {FEWEST} draws or more and sets as many aside: give run.chains times run.draws of "
            f"{2 * FEWEST} or more, and run.draws of 4 or more"
        )
    prior = load_prior(run.prior, n)
    surrogate = prior if isinstance(prior, GaussianPrior) else load_prior(run.surrogate, n)
    assert isinstance(surrogate, GaussianPrior)
    lens = LensModel(run.lens.mass, run.lens.ranges)
    mean = surrogate.scale * np.asarray(surrogate.mean) + surrogate.offset
    return Setting(config, prior, lens, mean, surrogate.scale * np.asarray(surrogate.basis[:, : config.components]))


def coverage(out: Path, n: int, config: CoverageConfig, progress: Progress) -> dict[str, Any]:
    """Infer the systems 0 ... n - 1 that `out` does not hold yet, and judge all. Returns the figures of coverage.json.

    A system whose run fails is counted and left out, with the reason beside it (failure.txt).
    """
    study = setting(config)
    tally = Tally(study)
    with progress.stage("systems", n) as bar:
        for k in range(n):
            made = system(study, k)
            posterior = one(out / made.observation.name, study, made, study.run(k))
            if posterior is not None:
                tally.add(made, posterior)
            bar.advance(**({} if posterior is None else {"chi2": tally.chi2[-1]}))
    if len(tally.chi2) < 2:
        raise BlindlensError(
            f"{len(tally.chi2)} of {n} systems came to an end, too few to judge; see failure.txt in {out}"
        )
    figures = tally.figures() | {"failed": n - len(tally.chi2)}
    write_text(out / "coverage.json", json.dumps(figures, indent=2, allow_nan=False) + "\n")
    with atomic_write(out / "coverage.png") as temporary:
        coverage_figure(tally.uniform()).savefig(temporary, dpi=100)
    write_text(out / "README.md", page(config, figures))
    return figures


def system(study: Setting, k: int) -> System:
    """System number k, whatever the number of systems; its observation has the PSF and noise that are assumed."""
    of, run, prior = study.config.systems, study.run(k), study.prior
    key = jax.random.fold_in(simulation_key(study.config.run.seed), k)
    if of.sources == "prior":
        source = prior.scale * np.asarray(prior.sample(jax.random.fold_in(key, 1), (1,)))[0] + prior.offset
    else:
        images = open_images(of.sources, prior.n)
        if k >= len(images):
            raise BlindlensError(f"{of.sources} holds {len(images)} images: ask for as many systems at the most")
        source = images.read(np.array([k]))[0]
    how: dict[str, Any] = {"supersampling": of.rays or 8, "interpolation": "cubic"}
    if of.rays is None:
        each, core = rays(run, of.pixel_scale, of.source_fov / prior.n)
        how = {"supersampling": each, "interpolation": run.interpolation, "core": core}
    (made,) = simulate(
        jax.random.fold_in(key, 2),
        of.brightness * np.asarray(source)[None],
        study.lens,
        shape=(of.pixels, of.pixels),
        pixel_scale=of.pixel_scale,
        fov=of.source_fov,
        psf_fwhm=of.psf_fwhm,
        sigma=of.noise,
        **how,
    )
    psf = gaussian_psf(of.psf_error * of.psf_fwhm, of.pixel_scale)
    told = replace(made.observation, psf=psf, noise=of.noise_error * made.observation.noise, name=f"system{k:04d}")
    return made._replace(observation=told)


def one(folder: Path, study: Setting, made: System, run: RunConfig) -> Posterior | None:
    """The posterior of one system: the one in the folder if it was made by the same, else a new one; None if there can
    be none."""
    path, mark = folder / "posterior.nc", fingerprint(made.observation, study.prior, study.lens, run)
    if path.is_file() and (kept := Posterior.load(path)).attrs.get("fingerprint") == mark:
        return kept
    try:
        posterior = infer(made.observation, study.prior, study.lens, run, out=folder)
    except BlindlensError as error:
        write_text(folder / "failure.txt", f"{error}\n")
        return None
    (folder / "failure.txt").unlink(missing_ok=True)
    return posterior


def vectors(study: Setting, made: System, posterior: Posterior) -> dict[str, Vectors]:
    """By group: the lens in normal coordinates, the source in a few numbers, and both."""
    chains, space = posterior.lens.sizes["chain"], study.lens.space
    draws = {name: posterior.lens[name].values for name in space.names}
    eta, true = normal(space, draws), normal(space, made.truth)
    fov = study.config.systems.source_fov

    def summarised(images: np.ndarray, lens: dict[str, Any]) -> np.ndarray:
        at = np.stack([np.ravel(lens["xs"]), np.ravel(lens["ys"])], 1)
        return np.stack(list(source_summaries(images, fov, at, study.mean, study.components).values()), 1)

    images = posterior.source.values
    x = summarised(images.reshape(-1, *images.shape[-2:]), draws).reshape(*eta.shape[:2], -1)
    truth = np.concatenate([true, summarised(made.source[None], made.truth)[0]])
    values = np.concatenate([eta, x], -1)
    if chains > 1:
        ranked, aside = values[::2], values[1::2]
    else:
        ranked, aside = np.split(values, [values.shape[1] // 2], 1)
    worth = np.array([ess(ranked[..., i]) for i in range(truth.size)])
    flat, other = (part.reshape(-1, truth.size) for part in (ranked, aside))
    groups = {"lens": slice(true.size), "source": slice(true.size, None), "both": slice(None)}
    out = {}
    for name, part in groups.items():
        count = np.clip(np.nanmin(worth[part], initial=len(flat)), FEWEST, len(flat))
        out[name] = Vectors(truth[part], other[:, part], flat[:: int(np.ceil(len(flat) / count)), part])
    return out


def normal(space: ParameterSpace, lens: Mapping[str, Any]) -> np.ndarray:
    """Normal coordinates (..., d) of lens parameters."""
    return np.asarray(space.to_normal({name: jnp.asarray(value) for name, value in lens.items()}), np.float64)


class Tally:
    """What is kept of each system: places of its truth among its draws and among the controls', and a few figures."""

    def __init__(self, study: Setting):
        self.study = study
        self.names = {"lens": coordinates(study.lens.space), "source": summaries(study.config.components)}
        self.places: dict[str, dict[str, list[checks.Place]]] = {
            what: {group: [] for group in (*self.names, "both")} for what in ("draws", *CONTROLS)
        }
        self.r_hat: list[float] = []
        self.chi2: list[float] = []
        self.widths: list[np.ndarray] = []
        self.seconds: list[float] = []

    def add(self, made: System, posterior: Posterior) -> None:
        """One more system."""
        rng = np.random.default_rng([self.study.config.run.seed, int(made.observation.name.removeprefix("system"))])
        mine = vectors(self.study, made, posterior)
        for what, groups in self.places.items():
            for group, places in groups.items():
                changed = mine[group].widened(CONTROLS[what]) if what in CONTROLS else mine[group]
                places.append(checks.place(*changed, rng))
        eta = normal(self.study.lens.space, {name: posterior.lens[name].values for name in made.truth})
        self.r_hat.append(max(r_hat(eta[..., i]) for i in range(eta.shape[-1])))
        self.chi2.append(float(posterior.tree["sample_stats"]["chi2_per_pixel"].mean()))
        self.widths.append(eta.reshape(-1, eta.shape[-1]).std(0))
        self.seconds.append(sum(posterior.attrs["times"].values()))

    def figures(self) -> dict[str, Any]:
        """Over all systems; by group of the draws and of each control."""
        widths = np.median(self.widths, 0).tolist()
        general = {
            "systems": len(self.chi2),
            "r_hat below 1.05": int(np.sum(np.array(self.r_hat) < 1.05)),
            "greatest r_hat": float(np.max(self.r_hat)),
            "chi2_per_pixel": float(np.mean(self.chi2)),
            "seconds": float(np.median(self.seconds)),
            "lenses an hour": float(3600 / np.mean(self.seconds)),
            "median width": dict(zip(self.names["lens"], widths, strict=True)),
        }
        return general | {
            what: {group: judgement(places, self.names.get(group)) for group, places in groups.items()}
            for what, groups in self.places.items()
        }

    def uniform(self) -> dict[str, np.ndarray]:
        """The numbers (K,) that are uniform if the posteriors are right, by name."""
        numbers = {f"{group} TARP": np.array([p.tarp for p in found]) for group, found in self.places["draws"].items()}
        for group, names in self.names.items():
            numbers |= {
                name: np.array([p.ranks[i] for p in self.places["draws"][group]]) for i, name in enumerate(names)
            }
        return numbers


def judgement(places: list[checks.Place], names: list[str] | None) -> dict[str, Any]:
    """TARP, Mira, and with names the ranks of each coordinate."""
    tarp = checks.judge(np.array([p.tarp for p in places]))
    draws = np.array([p.draws for p in places])
    score, expected, error = checks.mira(np.array([p.mira for p in places]), draws)
    figures: dict[str, Any] = {
        "draws ranked": float(np.median(draws)),
        "TARP p": tarp.p,
        "TARP inside the 95 % band": tarp.inside,
        "Mira": {"score": score, "expected": expected, "standard error": error},
    }
    if names is not None:
        ranks = np.array([p.ranks for p in places]).T
        figures["ranks"] = {
            name: {"p": checks.smooth_p(u), "in 68 %": checks.central(u, 0.68), "in 95 %": checks.central(u, 0.95)}
            for name, u in zip(names, ranks, strict=True)
        }
        figures["ranks, least p"] = min(one["p"] for one in figures["ranks"].values())
        figures["ranks rejected at 1 %"] = figures["ranks, least p"] < 0.01 / len(names)
    return figures


def coordinates(space: ParameterSpace) -> list[str]:
    """Names of the normal coordinates: a pair of an amplitude and an angle has two of its own."""
    names = []
    for block in space.blocks:
        if block.size == len(block.names) == 1:
            names += block.names
        else:
            names += [f"{' '.join(block.names)} ({part})" for part in ("cos", "sin")]
    return names


def summaries(components: int) -> list[str]:
    """Names of the numbers that a source is judged by."""
    return ["flux", "centroid_x", "centroid_y", "r50", *(f"component_{i}" for i in range(components))]


def page(config: CoverageConfig, figures: dict[str, Any]) -> str:
    """README.md: the tables and the figure."""
    lines = [
        f"{figures['systems']} systems ({figures['failed']} failed); chi2/pixel {figures['chi2_per_pixel']:.3f}; r_hat "
        f"below 1.05 in {figures['r_hat below 1.05']}, at most {figures['greatest r_hat']:.2f}; "
        f"{figures['seconds']:.0f} seconds each.",
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
