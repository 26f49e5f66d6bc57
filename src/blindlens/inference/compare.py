"""The evidence for more components of the mass: Delta log p(y) of two lens models, the larger holding the smaller."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import CompareConfig, RunConfig
from ..errors import BlindlensError
from ..lens.mass import LensModel
from ..observation import Observation
from ..posterior import about_mean, period
from ..prior import Denoiser, load_prior
from ..progress import Progress
from ..sampler.kernels import Mixture
from ..storage import write_text
from .beginnings import laplace_log_weights
from .evidence import Evidence, Mode
from .extension import Extension, Scan, scan
from .initialise import distinct, initialise, polish
from .oracle import covering
from .pipeline import prepared, surrogate
from .population import UNRELIABLE, Estimate, population, tempered
from .problem import build_problem
from .scales import image_scales

WIDE = 1.5
"""Standard deviations of the scan's components are this much wider than the linear answer of source and lens."""
REACH = 10.0
"""Modes of the small model this many nats below the best are not extended."""
APART = 0.4
"""Starts are this far from one another in the extra normal coordinates."""
LEVEL = 5.0
"""log p(y) of a model five nats above the other's: odds of 150 to 1, by which a component is called detected."""


class Comparison(NamedTuple):
    """small, large: log p(y) without and with the extra components. extra: {name: (mean, sd)} of their parameters."""

    without: tuple[str, ...]
    within: tuple[str, ...]
    small: Estimate
    large: Estimate
    extra: dict[str, tuple[float, float]]

    @property
    def gain(self) -> float:
        """Delta log p(y), nats; positive where the data ask for the extra components."""
        return self.large.log_evidence - self.small.log_evidence

    @property
    def error(self) -> float:
        """Its standard error."""
        return float(np.hypot(self.small.error, self.large.error))

    def warnings(self) -> list[str]:
        """What is not to be trusted, in words."""
        found = []
        for mass, estimate in ((self.without, self.small), (self.within, self.large)):
            if not estimate.tail < UNRELIABLE or estimate.ess < 20:
                found.append(
                    f"the evidence of {'+'.join(mass)} rests on {estimate.ess:.0f} effective draws (k "
                    f"{estimate.tail:.2f}): its error may be greater than said; raise compare.draws or compare.rounds"
                )
        return found

    def words(self) -> str:
        """One sentence."""
        extra = " and ".join(c for c in self.within if c not in self.without)
        verdict = f"the data ask for {extra}" if self.gain > LEVEL else f"no need of {extra}"
        if -1 < self.gain <= LEVEL:
            verdict = f"undecided about {extra}"
        return f"Delta log evidence {self.gain:+.1f} +- {self.error:.1f}: {verdict}"

    def summary(self) -> dict[str, Any]:
        """Plain values."""

        def plain(mass: tuple[str, ...], estimate: Estimate) -> dict[str, Any]:
            return {
                "mass": list(mass),
                "log_evidence": estimate.log_evidence,
                "error": estimate.error,
                "effective_draws": estimate.ess,
                "pareto_k": estimate.tail if np.isfinite(estimate.tail) else None,
            }

        return {
            "delta_log_evidence": self.gain,
            "error": self.error,
            "without": plain(self.without, self.small),
            "with": plain(self.within, self.large),
            "parameters": {name: {"mean": mean, "sd": sd} for name, (mean, sd) in self.extra.items()},
            "warnings": self.warnings(),
        }


@jax.default_matmul_precision("highest")
def compare(
    observation: Observation,
    extra: tuple[str, ...],
    prior: Denoiser | None = None,
    config: RunConfig | None = None,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Delta log p(y) of `config.lens` with the components `extra` against without them, under a Gaussian prior.

    prior: by default the configuration's; one that is not Gaussian is replaced by its surrogate. Modes come from a cold
    start of the model without; those of the model with from a scan of the extra components about them. Both models
    share source field, pixels and directions of the source. out: receives compare.json. Raises BlindlensError for
    components that the model has already, or cannot have.
    """
    progress = progress or Progress()
    asked = config or RunConfig()
    own = models(asked, extra)[0].space.names
    ranges = {name: ends for name, ends in asked.lens.ranges.items() if name in own}
    config = asked.replace(lens={**dict(asked.lens), "ranges": ranges})
    config, small, observation = prepared(config, None, observation, progress)
    # what the smaller model leaves over is the question, and not to be masked
    config = config.replace(contaminants="keep")
    wider = {**dict(config.lens), "ranges": {**asked.lens.ranges, **config.lens.ranges}}
    large = models(config.replace(lens=wider), extra)[1]
    stage, gaussian = config.compare, surrogate(prior or load_prior(config.prior), config)
    keys = jax.random.split(jax.random.key(config.seed), 4)
    scales = image_scales(observation, config)
    start = initialise(keys[0], observation, gaussian, small, config, progress, scales)
    if not np.isfinite(start.modes.log_posterior).any():
        raise BlindlensError("no start explains the image at all; check the noise map, the PSF and the pixel scale")
    part = start.observation.cropped(start.shape)

    def evidence(lens: LensModel) -> Evidence:
        problem = build_problem(part, gaussian, lens, config, start.fov, scales)
        return Evidence(problem, start.informed.basis, gaussian.mean)

    pair = Extension(evidence(small), evidence(large))
    with progress.stage("compare", 4) as bar:
        background, tops = explored(keys[1], pair, start.modes, stage)
        bar.advance()
        modes = polish(pair.large, tops, config.initialise.polish_steps)
        kept = distinct(modes.eta, modes.log_posterior, modes.factor, config.initialise.keep, config.initialise.within)
        modes = jax.tree.map(lambda leaf: jnp.asarray(leaf[kept]), modes)
        bar.advance()
        without = population(keys[2], pair.small, covering(pair.small, start.modes), stage.draws, stage.rounds)
        bar.advance()
        mixture = united(covering(pair.large, modes), background)
        within = population(keys[3], pair.large, mixture, stage.draws, stage.rounds)
        bar.advance()
    values = large.space.from_normal(jnp.asarray(within.eta[:, : large.space.size], jnp.float32))
    found = {}
    for name in large.space.names:
        if name not in small.space.names:
            value, turn = np.asarray(values[name], np.float64), period(name)
            value = value if turn is None else about_mean(value, turn, within.weights)
            mean = float(within.weights @ value)
            found[name] = (mean, float(np.sqrt(within.weights @ (value - mean) ** 2)))
    comparison = Comparison(small.mass, large.mass, without, within, found)
    if out is not None:
        write_text(out / "compare.json", json.dumps(comparison.summary(), indent=2) + "\n")
    return comparison


def explored(key: Array, pair: Extension, modes: Mode, stage: CompareConfig) -> tuple[Mixture, Array]:
    """Components over all of the extra parameters' prior that the data allow, and starts (P, d) for an ascent.

    From draws of that prior, each with the linear answer of the other parameters, about every mode of the small model
    within reach.
    """
    weights = np.asarray(laplace_log_weights(modes))
    e_key, pick_key = jax.random.split(key)
    extra = jax.random.normal(e_key, (stage.scan, len(pair.extra)))
    reached = [k for k in np.argsort(-weights) if weights[k] > weights.max() - REACH]
    found: list[Scan] = [scan(pair, modes.eta[k], extra) for k in reached]
    every = np.concatenate([np.asarray(one.eta, np.float64) for one in found])
    value = np.concatenate([np.asarray(one.value, np.float64) for one in found])
    value = np.where(np.isfinite(value), value, -1e30)
    others = np.zeros((every.shape[1],) * 2)
    others[np.ix_(pair.shared, pair.shared)] = np.linalg.inv(np.asarray(found[0].precision, np.float64))
    background = kernels(pick_key, every, value, WIDE**2 * others, stage.components)
    k = len(pair.extra)
    apart = np.broadcast_to(APART / (3 * np.sqrt(k)) * np.eye(k), (len(every), k, k))
    chosen = distinct(every[:, list(pair.extra)], value, apart, stage.starts, np.inf)
    return background, jnp.asarray(every[chosen], jnp.float32)


def kernels(key: Array, eta: np.ndarray, log_weights: np.ndarray, least: np.ndarray, count: int) -> Mixture:
    """A density from weighted points (M, d): `count` kernels at points drawn by their weights, tempered to that many.

    least: covariance (d, d) that is added to that of a kernel, by Silverman's rule from the points' own.
    """
    weights = tempered(log_weights, float(count))
    away = eta - weights @ eta
    covariance = (away.T * weights) @ away
    width = count ** (-1 / (np.linalg.matrix_rank(covariance, 1e-6) + 4))
    factor = np.linalg.cholesky(width**2 * covariance + least + 1e-6 * np.eye(len(least)))
    picked = np.asarray(jax.random.choice(key, len(eta), (count,), p=jnp.asarray(weights, jnp.float32)))
    means, factors = jnp.asarray(eta[picked], jnp.float32), jnp.asarray(factor, jnp.float32)
    return Mixture(means, jnp.broadcast_to(factors, (count, *factors.shape)), jnp.zeros(count))


def united(a: Mixture, b: Mixture) -> Mixture:
    """Both, with the same weight."""
    weights = [jax.nn.log_softmax(m.log_weights) for m in (a, b)]
    means, factors = jnp.concatenate([a.means, b.means]), jnp.concatenate([a.factors, b.factors])
    return Mixture(means, factors, jnp.concatenate(weights), a.dof)


def models(config: RunConfig, extra: tuple[str, ...]) -> tuple[LensModel, LensModel]:
    """The configured lens without and with the components `extra`, whose prior ranges may be among the configured."""
    own = config.lens.arguments()
    large = LensModel(**{**own, "mass": (*config.lens.mass, *extra)})
    foreign = {q.name for c in large.components[len(config.lens.mass) :] for q in c.parameters()}
    ranges = {name: ends for name, ends in config.lens.ranges.items() if name not in foreign}
    return LensModel(**{**own, "ranges": ranges}), large
