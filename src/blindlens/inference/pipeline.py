"""From an observation to a posterior: initialise, sample, collect; every finished part is kept on disk."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RunConfig
from ..errors import BlindlensError
from ..lens.mass import LensModel
from ..observation import Observation
from ..posterior import Posterior
from ..prior import Denoiser, GaussianPrior, load_prior
from ..progress import Progress
from . import baselines, gibbsddrm_run, nonblind, oracle, renoise_run, split_gibbs_run
from .blocks import Draws
from .evidence import Evidence, Informed, Mode
from .initialise import Start, initialise
from .problem import Problem, build_problem
from .stages import Store, fingerprint


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
    config = config or RunConfig()
    observation = observation.binned(config.bin) if config.bin > 1 else observation
    prior = prior or config.prior
    prior = load_prior(prior) if isinstance(prior, str) else prior
    lens = lens or LensModel(config.lens.mass, config.lens.ranges)
    progress = progress or Progress()
    gaussian = surrogate(prior, config)
    store = Store(out, fingerprint(observation, prior, lens, config))
    start_key, sample_key = jax.random.split(jax.random.key(config.seed))
    size = (config.chains, config.draws)
    if config.lens_params is not None:
        with progress.stage("initialise", 1) as bar:
            known = nonblind.known_lens(start_key, observation, gaussian, lens, config)
            bar.advance()
        part = observation.cropped(known.shape)
        problem = build_problem(part, prior, lens, config, known.fov, observation)
        draws = nonblind.sample(sample_key, problem, prior, known.eta, *size, config.source, store, progress)
        return finished(part, prior, problem, config, known.fov, draws, store, progress)

    start = read_start(store, progress)
    if start is None:
        start = initialise(start_key, observation, gaussian, lens, config, progress)
        write_start(store, start, progress)
    if not np.isfinite(start.modes.log_posterior).any():
        raise BlindlensError("no start explains the image at all; check the noise map, the PSF and the pixel scale")

    part = observation.cropped(start.shape)
    problem = build_problem(part, prior, lens, config, start.fov, observation)
    full = Evidence(problem, start.informed.basis, gaussian.mean)
    if config.method == "evidence":
        draws = oracle.sample(sample_key, full, gaussian, start, *size, config.evidence.moves, progress)
    elif config.method == "gibbsddrm":
        draws = gibbsddrm_run.sample(sample_key, problem, prior, start, *size, config.gibbsddrm, store, progress)
    elif config.method in baselines.METHODS:
        draws = baselines.sample(sample_key, problem, prior, start, *size, config, store, progress)
    elif isinstance(prior, GaussianPrior) and config.method == "joint":
        draws = split_gibbs_run.sample(sample_key, full, prior, start, *size, config.split_gibbs, store, progress)
    else:
        problem = problem if config.source_fov else problem.with_free_field(observation)
        draws = renoise_run.sample(sample_key, full, problem, prior, start, *size, config.renoise, store, progress)
    starts = {name: np.asarray(value).tolist() for name, value in full.problem.params(start.modes.eta).items()}
    draws = draws._replace(extra={"modes": len(start.modes.eta), "starts": starts, **draws.extra})
    return finished(part, prior, problem, config, start.fov, draws, store, progress)


def surrogate(prior: Denoiser, config: RunConfig) -> GaussianPrior:
    """The Gaussian that a run with this prior begins with. BlindlensError if its method needs the prior to be one."""
    if isinstance(prior, GaussianPrior):
        return prior
    if config.method == "evidence":
        raise BlindlensError("--method evidence needs a Gaussian prior; use --method joint with this one")
    gaussian = load_prior(config.surrogate, prior.n)
    if not isinstance(gaussian, GaussianPrior):
        raise BlindlensError(
            f"the surrogate {config.surrogate} is no Gaussian prior; give one, such as galaxy-gaussian"
        )
    return gaussian


def finished(
    observation: Observation,
    prior: Denoiser,
    problem: Problem,
    config: RunConfig,
    fov: float,
    draws: Draws,
    store: Store,
    progress: Progress,
) -> Posterior:
    """The Posterior of a run whose draws are usable, saved before its stages are removed. BlindlensError if not."""
    bad = ~(np.isfinite(draws.eta).all(2) & np.isfinite(draws.x).all((2, 3)))
    if bad.any():
        what = "the sampler" if config.lens_params is None else f"guidance {config.source.guidance.method}"
        advice = "check the noise map and the PSF"
        if config.lens_params is not None or config.method in ("gibbsddrm", *baselines.METHODS):
            what = what if config.lens_params is not None else f"method {config.method}"
            advice = "give it more and shorter steps or another guidance, or check the noise map and the PSF"
        raise BlindlensError(f"{what} broke down in {bad.sum()} of {bad.size} draws (not finite); {advice}")
    posterior = collect(observation, prior, problem, config, fov, draws, store.mark, progress)
    if store.folder is not None:
        posterior.save(store.folder / "posterior.nc")
    store.clear()
    return posterior


def write_start(store: Store, start: Start, progress: Progress) -> None:
    arrays = {**start.modes._asdict(), "basis": start.informed.basis, "dual": start.informed.dual}
    plain = {"fov": start.fov, "shape": start.shape, "tail": start.informed.tail, "seconds": progress.times}
    store.write("start", arrays, **plain)


def read_start(store: Store, progress: Progress) -> Start | None:
    kept = store.read("start")
    if kept is None:
        return None
    arrays, header = {name: jnp.asarray(value) for name, value in kept[0].items()}, kept[1]
    progress.times.update(header["seconds"])
    modes = Mode(**{name: arrays[name] for name in Mode._fields})
    directions = Informed(arrays["basis"], arrays["dual"], header["tail"])
    return Start(modes, header["fov"], tuple(header["shape"]), directions)


@eqx.filter_jit
def _images(problem: Problem, eta: Array, x: Array, a: Array) -> tuple[Array, Array]:
    return problem.source_image(eta, x), problem.light_image(eta, a)


def collect(
    observation: Observation,
    prior: Denoiser,
    problem: Problem,
    config: RunConfig,
    fov: float,
    draws: Draws,
    mark: str,
    progress: Progress,
) -> Posterior:
    """The Posterior in data units, with the mean model. mark: the fingerprint of what made it."""
    count = draws.eta.shape[0] * draws.eta.shape[1]
    eta, x, a = (t.reshape(count, *t.shape[2:]) for t in (draws.eta, draws.x, draws.a))
    model, light = (np.zeros(observation.shape) for _ in range(2))
    with progress.stage("collect", count) as bar:
        for args in zip(eta, x, a, strict=True):
            s, g = _images(problem, *args)
            model, light = model + np.asarray(s + g) / count, light + np.asarray(g) / count
            bar.advance()
    params = {name: np.asarray(value) for name, value in problem.params(draws.eta).items()}
    f = params.get("flux_scale", np.ones(1))
    source = f[..., None, None] * np.asarray(problem.scale * draws.x + problem.offset)
    pictures = {"image": model} | ({"lens_light": light} if problem.light is not None else {})
    attrs = {
        "seed": config.seed,
        "prior": prior.name,
        "config": config.model_dump(mode="json"),
        "source_fov": float(params["source_fov"].mean()) if "source_fov" in params else fov,
        "mass": list(problem.operator.lens.mass),
        "fingerprint": mark,
        "warnings": [],
        "times": progress.times,
        **draws.extra,
    }
    posterior = Posterior.from_draws(params, source, draws.stats, observation, pictures, attrs)
    if draws.marginal is not None:
        posterior.add_marginal({k: np.asarray(v) for k, v in problem.params(draws.marginal).items()})
    return posterior
