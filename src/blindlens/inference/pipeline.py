"""From an observation to a posterior: initialise, sample, collect; every finished part is kept on disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..config import RunConfig
from ..contaminants import protected_radius, without_contaminants
from ..errors import BlindlensError
from ..lens.mass import LensModel
from ..observation import Observation
from ..posterior import Posterior
from ..prior import Denoiser, GaussianPrior, load_prior
from ..progress import Progress
from . import baselines, gibbsddrm_run, latent_run, nonblind, oracle, renoise_run, split_gibbs_run
from .beginnings import Start
from .blocks import Draws
from .brightness import brightened
from .collect import finished
from .evidence import Evidence, Informed, Mode
from .initialise import initialise
from .problem import build_problem
from .scales import image_scales, settled
from .stages import Store, fingerprint


class Begun(NamedTuple):
    """A run of which the modes are found: all that sampling needs."""

    observation: Observation
    prior: Denoiser
    gaussian: GaussianPrior
    config: RunConfig
    system: renoise_run.System
    store: Store
    progress: Progress


# the default on GPUs is 10 bits of mantissa, which no log density survives
@jax.default_matmul_precision("highest")
def infer(
    observation: Observation,
    prior: Denoiser | str | None = None,
    lens: LensModel | None = None,
    config: RunConfig | None = None,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Draw from p(x, l | y). out: folder that receives posterior.nc, and in which finished stages are kept until it
    exists, so that the same call resumes.

    prior and lens: by default those of the configuration.

    Raises BlindlensError when the data cannot be used or no start has a finite posterior.
    """
    progress = progress or Progress()
    config, lens, observation = prepared(config or RunConfig(), lens, observation, progress)
    prior = prior or config.prior
    prior = load_prior(prior) if isinstance(prior, str) else prior
    if config.lens_params is not None:
        return _infer_source(observation, prior, lens, config, out, progress)
    run = begin(observation, prior, lens, config, out, progress)
    return concluded(run, _sampled(run))


def prepared(
    config: RunConfig, lens: LensModel | None, observation: Observation, progress: Progress
) -> tuple[RunConfig, LensModel, Observation]:
    """What the image decides of the configuration, the lens model, and the image without neighbours and binned."""
    config, notes = settled(config, observation)
    lens = lens or LensModel(**config.lens.arguments())
    if config.masks_neighbours:
        cleaned = without_contaminants(observation, protected_radius(lens))
        notes += cleaned.notes[len(observation.notes) :]
        observation = replace(observation, mask=cleaned.mask)
    for note in notes:
        progress.say(f"note: {note}")
    observation = replace(observation, notes=(*observation.notes, *notes))
    return config, lens, observation.binned(config.bin) if config.bin > 1 else observation


def _infer_source(
    observation: Observation, prior: Denoiser, lens: LensModel, config: RunConfig, out: Path | None, progress: Progress
) -> Posterior:
    """The posterior of the source alone, for a known lens."""
    gaussian = surrogate(prior, config)
    store = Store(out, fingerprint(observation, prior, lens, config))
    start_key, sample_key = jax.random.split(jax.random.key(config.seed))
    with progress.stage("initialise", 1) as bar:
        known = nonblind.known_lens(start_key, observation, gaussian, lens, config)
        bar.advance()
    part = observation.cropped(known.shape)
    problem = build_problem(part, prior, lens, config, known.fov, image_scales(observation, config))
    size = config.size(denoised=False)
    draws = nonblind.sample(sample_key, problem, prior, known.eta, *size, config.source, store, progress)
    return finished(part, prior, problem, config, known.fov, draws, store, progress)


@jax.default_matmul_precision("highest")
def begin(
    observation: Observation, prior: Denoiser, lens: LensModel, config: RunConfig, out: Path | None, progress: Progress
) -> Begun:
    """The modes, found or read from `out`, and the problem. BlindlensError if no start has a finite posterior."""
    gaussian = surrogate(prior, config)
    store = Store(out, fingerprint(observation, prior, lens, config))
    start_key, sample_key = jax.random.split(jax.random.key(config.seed))
    scales, start = image_scales(observation, config), read_start(store, observation, progress)
    if start is None:
        rough = renoised(prior, config)
        start = initialise(start_key, observation, gaussian, lens, config, progress, scales, rough)
        write_start(store, start, progress)
    for note in start.observation.notes[len(observation.notes) :]:
        progress.say(f"note: {note}")
    if not np.isfinite(start.modes.log_posterior).any():
        raise BlindlensError("no start explains the image at all; check the noise map, the PSF and the pixel scale")
    part = start.observation.cropped(start.shape)
    problem = build_problem(part, prior, lens, config, start.fov, scales)
    full = Evidence(problem, start.informed.basis, gaussian.mean)
    probes = jnp.zeros((prior.n**2, 0), jnp.float32)
    if renoised(prior, config):
        probes = renoise_run.probes(full, start, config.renoise)
        if not config.source_fov:
            problem = problem.with_free_field(scales)
        if not isinstance(prior, GaussianPrior):
            key = jax.random.fold_in(jax.random.key(config.seed), 2)  # neither of the two above
            start = start._replace(modes=brightened(key, start.modes, full, prior, config.renoise.first))
    system = renoise_run.System(sample_key, full, problem, start, probes)
    return Begun(part, prior, gaussian, config, system, store, progress)


def renoised(prior: Denoiser, config: RunConfig) -> bool:
    """Does this run begin with `renoise`?"""
    hidden = config.method == "joint" and not isinstance(prior, GaussianPrior)
    return hidden or config.method in ("renoise", "latent")


def _under_denoiser(
    systems: Sequence[renoise_run.System], prior: Denoiser, config: RunConfig, store: Store, progress: Progress
) -> list[Draws]:
    size = config.size(denoised=True)
    if config.method == "latent":
        return latent_run.sample(systems, prior, *size, config, store, progress)
    return renoise_run.sample(systems, prior, *size, config.renoise, store, progress)


def _sampled(run: Begun) -> Draws:
    config, prior, store, progress = run.config, run.prior, run.store, run.progress
    key, full, problem, start, _ = run.system
    size = config.size(denoised=False)
    if renoised(prior, config):
        (draws,) = _under_denoiser([run.system], prior, config, store, progress)
        return draws
    if config.method == "evidence":
        return oracle.sample(key, full, run.gaussian, start, *size, config.evidence.moves, progress)
    if config.method == "gibbsddrm":
        return gibbsddrm_run.sample(key, problem, prior, start, *size, config.gibbsddrm, store, progress)
    if config.method in baselines.METHODS:
        return baselines.sample(key, problem, prior, start, *size, config, store, progress)
    assert isinstance(prior, GaussianPrior)
    return split_gibbs_run.sample(key, full, prior, start, *size, config.split_gibbs, store, progress)


@jax.default_matmul_precision("highest")
def sampled_together(runs: Sequence[Begun], folder: Path, progress: Progress) -> list[Draws]:
    """The draws of several runs under a denoiser with one prior and one configuration but for the seed, by one program.

    folder: keeps what is done until all of it is. BlindlensError for runs that one program cannot serve.
    """
    first = runs[0]
    if not all(renoised(run.prior, run.config) for run in runs):
        raise BlindlensError("only the sampler of score priors takes several systems at once; sample them one by one")
    mark = hashlib.sha256("".join(run.store.mark for run in runs).encode()).hexdigest()
    store, before = Store(folder, mark), progress.times.get("sample", 0.0)
    draws = _under_denoiser([run.system for run in runs], first.prior, first.config, store, progress)
    store.clear()
    for run in runs:
        run.progress.times["sample"] = (progress.times["sample"] - before) / len(runs)
    return draws


@jax.default_matmul_precision("highest")
def concluded(run: Begun, draws: Draws) -> Posterior:
    """The Posterior, saved in the run's folder. BlindlensError if its draws are not usable."""
    start, problem = run.system.start, run.system.problem
    starts = {name: np.asarray(v).tolist() for name, v in run.system.full.problem.params(start.modes.eta).items()}
    draws = draws._replace(extra={"modes": len(start.modes.eta), "starts": starts, **draws.extra})
    return finished(run.observation, run.prior, problem, run.config, start.fov, draws, run.store, run.progress)


def surrogate(prior: Denoiser, config: RunConfig) -> GaussianPrior:
    """The Gaussian that a run with this prior begins with. BlindlensError if its method needs the prior to be one."""
    if isinstance(prior, GaussianPrior):
        return prior
    if config.method == "evidence":
        raise BlindlensError(
            "--method evidence needs a Gaussian prior; give one, such as --prior galaxy-gaussian, or --method joint"
        )
    gaussian = load_prior(config.surrogate, prior.n)
    if not isinstance(gaussian, GaussianPrior):
        raise BlindlensError(
            f"the surrogate {config.surrogate} is no Gaussian prior; give one, such as galaxy-gaussian"
        )
    return gaussian


def write_start(store: Store, start: Start, progress: Progress) -> None:
    arrays = {**start.modes._asdict(), "basis": start.informed.basis, "dual": start.informed.dual}
    arrays["mask"] = start.observation.mask
    plain = {"fov": start.fov, "shape": start.shape, "tail": start.informed.tail, "seconds": progress.times}
    plain["notes"] = start.observation.notes
    store.write("start", arrays, **plain)


def read_start(store: Store, observation: Observation, progress: Progress) -> Start | None:
    kept = store.read("start")
    if kept is None:
        return None
    mask = np.asarray(kept[0]["mask"], bool)
    arrays, header = {name: jnp.asarray(value) for name, value in kept[0].items() if name != "mask"}, kept[1]
    progress.times.update(header["seconds"])
    modes = Mode(**{name: arrays[name] for name in Mode._fields})
    masked = replace(observation, mask=mask, notes=tuple(header["notes"]))
    directions = Informed(arrays["basis"], arrays["dual"], header["tail"])
    return Start(modes, header["fov"], tuple(header["shape"]), directions, masked)
