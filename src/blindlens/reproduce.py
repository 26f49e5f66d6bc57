"""The experiment of arXiv:2511.04792: simulated systems, its sampler on each, and its figures.

A folder a system, of which finished ones are kept; a system under way resumes as `infer` does.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from .config import RunConfig
from .errors import BlindlensError
from .inference.evolution import evolution, tweedie_mean
from .inference.gibbsddrm import GibbsDDRM
from .inference.pipeline import infer
from .inference.problem import Problem, build_problem
from .inference.scales import settled
from .inference.source import guide
from .inference.stages import fingerprint
from .lens.mass import LensModel
from .lens.simulate import System, simulate, simulation_key
from .posterior import Posterior, unwrapped
from .prior import Denoiser, load_prior
from .prior.galaxies import galaxies
from .progress import Progress
from .report import paper_figures
from .report.paper_figures import Seen
from .sampler.schedule import Schedule
from .storage import atomic_write, write_text

SYSTEMS, CONDITIONALS = 4, 6
"""Systems, and joint draws of the first of them: as many conditionals are held against p(l | y)."""
FEWEST = 10
"""Lenses of each source that a picture of p(l | y) takes."""
TIME, SNAPSHOTS = 0.5, 10
"""Diffusion time of the Tweedie means; looks at one joint draw on its way."""


class Setting(NamedTuple):
    """What all systems share."""

    prior: Denoiser
    lens: LensModel
    config: RunConfig

    def problem(self, system: System) -> Problem:
        """The whole image, as no part of it is left out."""
        return build_problem(system.observation, self.prior, self.lens, self.config, self.config.source_fov)


# as in `infer`: the default on GPUs is too coarse for residuals
@jax.default_matmul_precision("highest")
def reproduce(out: Path, config: RunConfig, progress: Progress) -> list[dict[str, Any]]:
    """Run what is not there yet, and write figures and README.md into `out`. Returns a line of figures a system.

    Raises BlindlensError for a configuration that is not the paper's experiment.
    """
    refuse(config)
    setting = Setting(load_prior(config.prior), LensModel(**config.lens.arguments()), config)
    sources = galaxies(config.seed, SYSTEMS, setting.prior.n)
    systems = simulate(simulation_key(config.seed), sources, setting.lens, fov=config.source_fov)
    seen = []
    for k, system in enumerate(systems):
        chains, draws = config.size(denoised=False)
        each = max(draws, -(-CONDITIONALS // chains))
        one = config.replace(draws=each) if k == 0 else config
        posterior = joint(out / system.observation.name, setting._replace(config=one), system, progress)
        seen.append(Seen(system.truth, system.source, *left_over(setting, system, posterior)))
        write(out / f"system{k}.png", paper_figures.system_figure(seen[-1]))
        write(out / f"corner{k}.png", paper_figures.marginal_corner(seen[-1]))
    write(out / "marginal.png", paper_figures.marginal_figure(seen[0]))
    with progress.stage("evolution", 2) as bar:
        write(out / "tweedie.png", tweedie(setting, systems[0]))
        bar.advance()
        write(out / "evolution.png", on_its_way(setting, systems[0], seen[0].posterior))
        bar.advance()
    lines = [figures(one) for one in seen]
    write_text(out / "README.md", page(config, lines))
    return lines


def refuse(config: RunConfig) -> None:
    """BlindlensError for what the figures could not show after hours."""
    stage = config.gibbsddrm
    whole = not config.trim and config.bin == 1 and config.source_fov and config.flux_scale != "infer"
    if config.method != "gibbsddrm" or not whole:
        raise BlindlensError(
            "reproduce needs method gibbsddrm, source_fov, a number for flux_scale, trim: false and bin: 1"
        )
    if not stage.end or stage.refine.marginal < FEWEST or stage.refine.components is not None:
        raise BlindlensError(
            f"reproduce shows p(l | y): give gibbsddrm: {{end: true}} and refine: {{marginal: {FEWEST} or more, "
            "components: null}"
        )
    if stage.covariance != "none":
        raise BlindlensError("reproduce is the paper's sampler: give gibbsddrm: {covariance: none}")


def joint(folder: Path, setting: Setting, system: System, progress: Progress) -> Posterior:
    """The posterior of one system: the one in the folder if it was made by the same, else a new one."""
    prior, lens, config = setting
    decided, _ = settled(config, system.observation)
    mark, path = fingerprint(system.observation, prior, lens, decided), folder / "posterior.nc"
    if path.is_file() and (kept := Posterior.load(path)).attrs.get("fingerprint") == mark:
        progress.say(f"{system.observation.name}: done before")
        return kept
    progress.say(f"{system.observation.name}:")
    system.observation.to_fits(folder / "image.fits")
    write_text(folder / "truth.json", json.dumps({"lens": system.truth}, indent=2) + "\n")
    return infer(system.observation, prior, lens, config, out=folder, progress=Progress(progress.console))


@eqx.filter_jit
def _residual(problem: Problem, params: dict[str, Array], x: Array) -> Array:
    eta = problem.space.to_normal(params)
    return problem.residual(eta, x, jnp.zeros(0, x.dtype))


def left_over(setting: Setting, system: System, posterior: Posterior) -> tuple[np.ndarray, Posterior, np.ndarray]:
    """The noise that was added, the posterior, and the residuals of its draws; both over the noise's sd."""
    problem, prior = setting.problem(system), setting.prior
    flat = {str(name): jnp.asarray(value.values.ravel()) for name, value in posterior.lens.items()}
    x = (posterior.source.values.reshape(-1, prior.n, prior.n) / problem.scale) - problem.offset / problem.scale
    residuals = [_residual(problem, {name: v[i] for name, v in flat.items()}, jnp.asarray(x[i])) for i in range(len(x))]
    noise = (system.observation.image - system.noiseless) / system.observation.noise
    return noise, posterior, np.stack([np.asarray(r) for r in residuals])


def tweedie(setting: Setting, system: System) -> Figure:
    """E[x | x_t] at t = TIME, the lens being known, by the guidances of the joint draw and of the Gibbs sweep."""
    problem, prior, stage = setting.problem(system), setting.prior, setting.config.gibbsddrm
    measurement = problem.measurement({name: jnp.asarray(value) for name, value in system.truth.items()})
    means = {}
    for role, its in (("Gibbs sweep", stage.redraw), ("joint draw", stage)):
        guided = guide(its.guidance, prior, *measurement, Schedule())
        key = jax.random.key(setting.config.seed)
        steps = max(1, round(its.steps * (1 - TIME)))
        mean = tweedie_mean(key, guided, prior, Schedule(), TIME, steps, its.solver)
        means[f"{role}, {its.guidance.method}"] = np.asarray(problem.scale * mean + problem.offset)
    return paper_figures.tweedie_figure(means, system.source, setting.config.source_fov or 0.0, TIME)


def on_its_way(setting: Setting, system: System, posterior: Posterior) -> Figure:
    """One joint draw over t, begun where the posterior's first was."""
    problem, prior, stage = setting.problem(system), setting.prior, setting.config.gibbsddrm
    method = GibbsDDRM(problem, prior, jnp.zeros((prior.n**2, 0)), Schedule(), stage)
    begin = problem.space.to_normal({name: jnp.asarray(value[0]) for name, value in posterior.attrs["starts"].items()})
    seen = evolution(jax.random.key(setting.config.seed), method, begin, min(SNAPSHOTS, stage.steps))
    lens = {name: np.asarray(value) for name, value in problem.params(seen.eta).items()}
    x_t, mean = (np.asarray(problem.scale * part + problem.offset) for part in (seen.x_t, seen.mean))
    return paper_figures.evolution_figure(seen.t, x_t, mean, lens, system.truth, setting.config.source_fov or 0.0)


def figures(seen: Seen) -> dict[str, Any]:
    """chi2/pixel of the noise and of the draws, and how far the truth lies from p(l | y), in its widths."""
    lenses, z = seen.posterior.tree["marginal"].to_dataset(), {}
    for name, truth in seen.truth.items():
        *drawn, true = unwrapped(name, np.append(lenses[name].values, truth))
        off, width = np.mean(drawn) - true, np.std(drawn)
        z[name] = float(off / width if width else np.copysign(np.inf, off))  # a lens at a wall of its prior stays there
    chi2 = [float(np.mean(r**2)) for r in seen.residuals]
    stats = seen.posterior.tree["sample_stats"]
    return {
        "system": seen.posterior.attrs["name"],
        "chi2 of the truth": float(np.mean(seen.noise**2)),
        "chi2 of the draws": chi2,
        "z": z,
        "peak": float(seen.posterior.image("image").max() / seen.posterior.image("noise").min()),
        "refused": float(stats["refused"].mean()),
        "residual": float(stats["residual"].max()),
        "seconds": seen.posterior.attrs["times"],
    }


def page(config: RunConfig, lines: list[dict[str, Any]]) -> str:
    """README.md: the table and the figures."""
    head = ("system", "peak S/N", "chi2/pixel of the truth", "of the draws", "Rein, z", "greatest z of the lens")
    head += ("Langevin steps refused", "greatest residual of a joint draw's solves", "minutes")
    rows = []
    for line in lines:
        worst = max(line["z"], key=lambda name: abs(line["z"][name]))
        chi2 = ", ".join(f"{value:.3f}" for value in line["chi2 of the draws"])
        z = f"{line['z']['Rein']:+.1f}", f"{line['z'][worst]:+.1f} ({worst})"
        rest = f"{line['refused']:.2f}", f"{line['residual']:.2g}", f"{sum(line['seconds'].values()) / 60:.1f}"
        rows.append((line["system"], f"{line['peak']:.0f}", f"{line['chi2 of the truth']:.3f}", chi2, *z, *rest))
    table = "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
    shown = [f"system{k}.png" for k in range(len(lines))] + ["marginal.png", "tweedie.png", "evolution.png"]
    shown += [f"corner{k}.png" for k in range(len(lines))]
    pictures = "\n".join(f"![{name}]({name})" for name in shown)
    return f"# arXiv:2511.04792, by `blindlens reproduce`\n\n{table}\n\n{pictures}\n\n```yaml\n{config.to_yaml()}```\n"


def write(path: Path, figure: Figure) -> None:
    """A PNG, atomically."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=80)
