"""From draws to a posterior in the data's units."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RunConfig
from ..errors import BlindlensError
from ..observation import Observation
from ..posterior import Posterior
from ..prior import Denoiser
from ..progress import Progress
from . import baselines
from .blocks import Draws
from .labels import relabelled
from .problem import Problem
from .stages import Store

COLLECTED = 64
"""Draws whose images are added up by one call."""


@eqx.filter_jit
def _images(problem: Problem, draws: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Sums over draws (K, ...) of the source's image and of the lens light's."""

    def one(draw: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        eta, x, a = draw
        return problem.source_image(eta, x), problem.light_image(eta, a)

    return jax.tree.map(lambda t: jnp.sum(t, 0), jax.lax.map(one, draws))


def with_noise_scale(observation: Observation, config: RunConfig, params: dict[str, np.ndarray]) -> Observation:
    """The observation with the noise that the model has: the map times the given factor, or its posterior mean."""
    given = config.noise_scale if isinstance(config.noise_scale, float) else 1.0
    factor = float(params["noise_scale"].mean()) if "noise_scale" in params else given
    if factor == 1:
        return observation
    noise = np.where(observation.mask, factor * observation.noise, observation.noise)
    return replace(observation, noise=noise, notes=(*observation.notes, f"the noise is {factor:.3g} times the map"))


def refuse(draws: Draws, config: RunConfig) -> None:
    """BlindlensError for draws that are not finite."""
    bad = ~(np.isfinite(draws.eta).all(2) & np.isfinite(draws.x).all((2, 3)))
    if not bad.any():
        return
    what, advice = "the sampler", "check the noise map and the PSF"
    if config.lens_params is not None or config.method in ("gibbsddrm", *baselines.METHODS):
        known = config.lens_params is not None
        what = f"guidance {config.source.guidance.method}" if known else f"method {config.method}"
        advice = "give it more and shorter steps or another guidance, or check the noise map and the PSF"
    raise BlindlensError(f"{what} broke down in {bad.sum()} of {bad.size} draws (not finite); {advice}")


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
    """The Posterior in data units, with the mean model, saved before the run's stages are removed.

    BlindlensError for draws that are not usable.
    """
    refuse(draws, config)
    count = draws.eta.shape[0] * draws.eta.shape[1]
    eta, x, a = (t.reshape(count, *t.shape[2:]) for t in (draws.eta, draws.x, draws.a))
    model, light = (np.zeros(observation.shape) for _ in range(2))
    with progress.stage("collect", count) as bar:
        for first in range(0, count, COLLECTED):
            some = slice(first, first + COLLECTED)
            s, g = _images(problem, (eta[some], x[some], a[some]))
            model, light = model + np.asarray(s + g) / count, light + np.asarray(g) / count
            bar.advance(min(COLLECTED, count - first))
    named = relabelled(problem, draws.eta, draws.eta[0, 0])
    params = {name: np.asarray(value) for name, value in problem.params(named).items()}
    f = params.get("flux_scale", np.ones(1))
    observation = with_noise_scale(observation, config, params)
    source = f[..., None, None] * np.asarray(problem.scale * draws.x + problem.offset)
    pictures = {"image": model} | ({"lens_light": light} if problem.light is not None else {})
    attrs = {
        "seed": config.seed,
        "prior": prior.name,
        "config": config.model_dump(mode="json"),
        "source_fov": float(params["source_fov"].mean()) if "source_fov" in params else fov,
        "mass": list(problem.operator.lens.mass),
        "priors": {name: prior._asdict() for name, prior in problem.space.priors().items()},
        "fingerprint": store.mark,
        "warnings": [],
        "times": progress.times,
        **draws.extra,
    }
    posterior = Posterior.from_draws(params, source, draws.stats, observation, pictures, attrs)
    if draws.marginal is not None:
        posterior.add_marginal({k: np.asarray(v) for k, v in problem.params(draws.marginal).items()})
    if store.folder is not None:
        posterior.save(store.folder / "posterior.nc")
    store.clear()
    return posterior
