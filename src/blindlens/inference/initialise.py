"""The modes of the lens posterior, from which samplers start.

Cold starts have nothing but the image. Thousands of lenses from the prior are ranked by their low-rank evidence (the
source is the prior's mean plus its leading eigen-galaxies, so p(y | l) costs one small solve), on a binned image with
the noise inflated; the best climb while the noise is annealed to its own size. Instead, the fit of a Sersic profile or
a file may say where to begin. Distinct beginnings are polished with the full evidence.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import InitialiseConfig, RunConfig
from ..errors import BlindlensError
from ..lens.mass import LensModel
from ..observation import Observation
from ..prior import GaussianPrior
from ..progress import Progress
from .beginnings import Start
from .evidence import Evidence, Mode, climb, curved, informed, log_posterior, scatter
from .foreign import ROUNDS, noted, without_foreign
from .given import complete, coordinates, read_sets
from .labels import other_shapes, relabelled_modes
from .parallel import in_turns, spread
from .problem import Problem, build_problem
from .scales import ImageScales, binning, image_scales
from .sersic import SersicFit, sersic_ends, sersic_fit

TRANSLATES, SHAPES = 6, 4
"""Translates of the best modes, and other shapes of the light, that climb too."""
VALLEY = 2.0
"""Nats by which the log posterior falls between two modes that are not one."""
ANY = 1e30
"""Nats below the best at which a finite value is never dropped."""


def inflated(evidence: Evidence, factor: Array | float) -> Evidence:
    """The same problem with the noise multiplied by `factor`."""
    return eqx.tree_at(lambda e: e.problem.weight, evidence, evidence.problem.weight / factor)


@eqx.filter_jit
def rank_draws(
    key: Array, evidence: Evidence, guess: tuple[Array, Array], draws: int, noise: float
) -> tuple[Array, Array]:
    """Prior draws eta (draws, d) and their log posterior with inflated noise; guess: coordinates (d,) and where they
    take the place of draws.
    """
    eta = jnp.where(guess[1], guess[0], jax.random.normal(key, (draws, evidence.problem.space.size)))
    hot = inflated(evidence, noise)
    return eta, spread(lambda hot, eta: hot.log_evidence(eta), hot, eta)


@eqx.filter_jit
def anneal(evidence: Evidence, eta: Array, steps: int, noise: float, rate: float) -> tuple[Array, Array]:
    """Normalised Adam ascent of all starts (K, d) while the noise falls from `noise` to 1 times its size.

    Returns the ends and their log posterior at the true noise.
    """
    d = eta.shape[1]

    def ascend(evidence: Evidence, eta: Array) -> tuple[Array, Array]:
        def step(carry, i):
            eta, m, s = carry
            factor = noise ** (1 - jnp.minimum(i / (0.8 * steps), 1.0))
            g = jax.grad(inflated(evidence, factor).log_posterior)(eta)
            g = jnp.where(jnp.isfinite(g), g, 0.0)
            g = g / (jnp.linalg.norm(g) + 1e-12)
            m, s = 0.9 * m + 0.1 * g, 0.97 * s + 0.03 * g**2
            size = rate * (1 - i / steps) + 1e-3
            return (eta + size * m / (jnp.sqrt(s) + 1e-3 / d), m, s), None

        zero = jnp.zeros_like(eta)
        (eta, *_), _ = jax.lax.scan(step, (eta, zero, zero + 1.0 / d), jnp.arange(steps))
        return eta, evidence.log_posterior(eta)

    return spread(ascend, evidence, eta)


@eqx.filter_jit
def _polish(evidence: Evidence, eta: Array, steps: int) -> Mode:
    return spread(lambda evidence, eta: climb(evidence, eta, steps), evidence, eta)


def polish(evidence: Evidence, eta: Array, steps: int) -> Mode:
    """Levenberg-Marquardt and a Laplace approximation for each start (K, d), stacked."""
    return in_turns(lambda evidence, eta: _polish(evidence, eta, steps), evidence, eta)


def distinct(
    eta: np.ndarray,
    values: np.ndarray,
    factors: np.ndarray | None,
    keep: int,
    within: float,
    log_posterior: Callable[[np.ndarray], float] | None = None,
) -> np.ndarray:
    """Indices of the best start of each cluster: at most `keep`, none more than `within` nats below the best.

    Two starts are one when they lie within 3 Laplace standard deviations per root dimension of each other, or, before
    there is a Laplace approximation, within 0.02 in every normal coordinate. With a `log_posterior`, a valley between
    them decides: what is VALLEY nats lower half way. In many dimensions 3 per root dimension is far in a single one, so
    that those beyond 3 in all are two if there is a valley; before there is a Laplace approximation, those that do not
    coincide are one if there is none.
    """
    values = np.where(np.isfinite(values), values, -np.inf)
    chosen: list[int] = []

    def same(i: int, j: int) -> bool:
        if factors is None:
            coincide = bool(np.max(np.abs(eta[i] - eta[j])) < 0.02)
            near = coincide or log_posterior is not None
        else:
            z = np.linalg.solve(factors[j], eta[i] - eta[j])
            coincide, near = z @ z < 9, z @ z < 9 * len(z)
        if log_posterior is None or coincide or not near:
            return bool(near)
        return log_posterior((eta[i] + eta[j]) / 2) >= values[i] - VALLEY

    for i in np.argsort(-values):
        if values[i] < values.max() - within or len(chosen) == keep:
            break
        if not any(same(i, j) for j in chosen):
            chosen.append(int(i))
    return np.array(chosen)


def low_rank_search(
    key: Array, coarse: Evidence, guess: dict[str, float], stage: InitialiseConfig, report: Callable[[], None]
) -> np.ndarray:
    """Distinct ends, eta (K, d), of the climb from the best of the prior's draws. guess: parameters of which something
    is known beforehand. `report` hears of 2 parts.
    """
    known = tuple(jnp.asarray(part) for part in coordinates(coarse.problem.space, guess))
    eta, values = rank_draws(key, coarse, known, stage.draws, stage.noise)
    best = jnp.argsort(-jnp.where(jnp.isfinite(values), values, -jnp.inf))[: stage.starts]
    report()
    eta, values = jax.tree.map(np.asarray, anneal(coarse, eta[best], stage.steps, stage.noise, stage.rate))
    report()
    value = lambda eta: float(log_posterior(coarse, jnp.asarray(eta)))  # noqa: E731
    # where the posterior is flat, ends of one mode do not coincide, and would take the places of all others
    apart = distinct(eta, values, None, stage.keep, 40 * stage.within, value)
    best = distinct(eta, values, None, stage.keep, 40 * stage.within)
    return eta[np.append(apart, best[~np.isin(best, apart)])[: stage.keep]]


def sersic_search(
    key: Array, coarse: Evidence, fit: SersicFit, stage: InitialiseConfig, report: Callable[[], None]
) -> np.ndarray:
    """Distinct lenses, eta (K, d), behind which a Sersic profile explains the image. `report` hears of 2 parts."""
    fit_key, rest_key = jax.random.split(key)
    eta, values = jax.tree.map(np.asarray, sersic_ends(fit_key, fit, stage.sersic))
    report()
    # no end is dropped for its value: where the source is no Sersic profile, the value is a poor judge of the lens
    params = fit.space.from_normal(jnp.asarray(eta[distinct(eta, values, None, stage.keep, ANY)]))
    names = [name for name in coarse.problem.space.names if name in params]
    sets = [{name: float(params[name][i]) for name in names} for i in range(len(params["xs"]))]
    eta, _ = complete(rest_key, coarse, sets, stage.draws)
    report()
    return eta


def given_starts(
    key: Array,
    coarse: Evidence,
    path: Path,
    guess: dict[str, float],
    stage: InitialiseConfig,
    report: Callable[[], None],
) -> np.ndarray:
    """The best distinct parameter sets of a file, eta (K, d); guess: of what they may leave out. `report` hears of 2
    parts.
    """
    sets = [guess | one for one in read_sets(path)]
    report()
    try:
        eta, values = complete(key, coarse, sets, stage.draws)
    except BlindlensError as error:
        raise BlindlensError(f"{path}: {error}") from None
    report()
    return eta[distinct(eta, values, None, stage.keep, ANY)]


def seen(evidence: Evidence, modes: Array, threshold: float = 3.0) -> tuple[int, int]:
    """Half-widths (rows, columns), in pixels, of the part of the image that sees the source at any of the modes.

    Those where the prior's sources scatter by more than `threshold` of the noise, or, for faint ones, a tenth of the
    most. What lies beyond informs the source's outskirts a little, and costs as much a pixel as what lies within.
    """
    half = [0.0, 0.0]
    for eta in modes:
        sd = np.asarray(scatter(evidence, eta))
        for axis, where in enumerate(np.nonzero(sd > min(threshold, 0.1 * sd.max()))):
            middle = (sd.shape[axis] - 1) / 2
            half[axis] = max(half[axis], float(np.abs(where - middle).max(initial=0)) + 0.5)
    return int(np.ceil(half[0])), int(np.ceil(half[1]))


def trimmed(evidence: Evidence, modes: Array, shape: tuple[int, int], k: int) -> tuple[int, int]:
    """The part of an image (ny, nx) that sees the source; evidence: of the image binned by k.

    Few sizes, so that programs compiled for one image serve the next.
    """
    sides = (8 * int(np.ceil(2 * k * (half + 1) / 8)) for half in seen(evidence, modes))
    ny, nx = (min(n, n % 2 + side) for n, side in zip(shape, sides, strict=True))
    return ny, nx


def translates(problem: Problem, modes: Array, reach: int = 1) -> tuple[Array, Array]:
    """The modes (K, d), and each with the source's field moved by up to `reach` of its pixels along rows and columns.

    Returns whose translate each is, (M,), and eta (M, d); the modes come first.
    """
    moves = sorted(itertools.product(range(-reach, reach + 1), repeat=2), key=lambda move: move != (0, 0))
    moved = [(k, *problem.translated(eta, *move), move) for move in moves for k, eta in enumerate(modes)]
    # a mode itself stays, however close to the end of the prior's range
    which, eta = zip(*((k, eta) for k, eta, inside, move in moved if inside or move == (0, 0)), strict=True)
    return jnp.array(which), jnp.stack(eta)


def neighbours(evidence: Evidence, modes: Array) -> Array:
    """The modes (K, d) and the best of their translates: where the grid makes modes, no ascent from elsewhere looks."""
    moved = translates(evidence.problem, modes)[1]
    values = np.array([float(log_posterior(evidence, eta)) for eta in moved[len(modes) :]])
    best = np.argsort(-np.nan_to_num(values, nan=-np.inf))[:TRANSLATES]
    return jnp.concatenate([modes, moved[len(modes) :][best]])


def widened(eta: Array, size: int) -> Array:
    """eta (K, d) with the prior's median, 0, for what a larger space has beyond: the noise's scale."""
    return jnp.pad(eta, ((0, 0), (0, size - eta.shape[1])))


def initialise(
    key: Array,
    observation: Observation,
    prior: GaussianPrior,
    lens: LensModel,
    config: RunConfig,
    progress: Progress,
    scales: ImageScales | None = None,
    rough: bool = False,
) -> Start:
    """The modes, the source's field of view, and the part of the image that matters.

    `config.initialise.method` says how modes are looked for; all else is common. scales: of the observation. rough: a
    sampler that begins by climbing has no need of modes with all of the source's directions, nor of their measured
    curvature. Raises BlindlensError for a file that cannot be used.
    """
    stage = config.initialise
    k = binning(observation, config)
    binned = observation.binned(k) if k > 1 else observation
    scales = scales or image_scales(observation, config)
    guess = {} if scales.light is None else scales.light.shape

    def evidence(of: Observation, basis: Array, fov: float | None, search: bool = True) -> Evidence:
        # the search does without a smooth source: bilinear interpolation takes 4 pixels instead of 16
        # with the noise inflated, its scale would undo that
        how = config.replace(interpolation="bilinear", **given_noise) if search else config
        return Evidence(build_problem(of, prior, lens, how, fov, scales), basis, prior.mean)

    def polished(full: Evidence, eta: Array, keep: int, within: float) -> Mode:
        modes = relabelled_modes(full.problem, polish(full, eta, stage.polish_steps))
        value = lambda eta: float(log_posterior(full, jnp.asarray(eta, modes.eta.dtype)))  # noqa: E731
        kept = distinct(modes.eta, modes.log_posterior, modes.factor, keep, within, value)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[kept]), modes)

    fov, given_noise = config.source_fov, {"noise_scale": 1.0} if config.noise_scale == "infer" else {}
    middle_rank = 4 * stage.rank
    with progress.stage("initialise", 5) as bar:
        coarse = evidence(binned, prior.basis[:, : stage.rank], fov)
        match stage.method:
            case "low-rank":
                starts = low_rank_search(key, coarse, guess, stage, bar.advance)
            case "sersic-adam":
                sampled = config.replace(supersampling=stage.sersic.rays, **given_noise)
                problem = build_problem(binned, prior, lens, sampled, fov, scales)
                fit = sersic_fit(problem, lens, stage.sersic)
                starts = sersic_search(key, coarse, fit, stage, bar.advance)
            case path:
                starts = given_starts(key, coarse, path, guess, stage, bar.advance)
        middle = evidence(binned, prior.basis[:, :middle_rank], fov)
        modes = polished(middle, jnp.asarray(starts), stage.keep, stage.within * 4)
        # where the noise is to be inferred, nothing says yet what stands out of it
        if config.masks_neighbours and config.noise_scale != "infer":
            whole, before, eta = observation, modes, jnp.asarray(starts)
            for _ in range(ROUNDS):
                # with all of the prior's freedom, so that what is left over is no fault of the low rank
                cleaned = without_foreign(observation, binned, evidence(binned, prior.basis, fov), modes.eta[0])
                if cleaned is observation:
                    break
                observation = cleaned
                binned = observation.binned(k) if k > 1 else observation
                middle = evidence(binned, prior.basis[:, :middle_rank], fov)
                # all starts anew once the worst is gone: what it led astray may come right
                modes = polished(middle, eta, stage.keep, stage.within * 4)
                eta = modes.eta
            observation = noted(whole, observation)
            modes = before if observation is whole else modes
            binned = observation.binned(k) if k > 1 else observation
        bar.advance()
        eta = modes.eta
        if fov is None:
            params = evidence(binned, prior.basis[:, :1], None).problem.params(eta)
            fov = round(float(params.pop("source_fov")[0]), 3)
            eta = evidence(binned, prior.basis[:, :1], fov).problem.space.to_normal(params)
        middle = evidence(binned, prior.basis[:, :middle_rank], fov)
        eta = polished(middle, neighbours(middle, eta[:2]), stage.keep, stage.within * 2).eta
        shape = observation.shape
        if config.trim:
            shape = trimmed(middle, eta, shape, k)
        part = observation.cropped(shape)
        bar.advance()
        full = evidence(part, prior.basis, fov, search=False)
        eta = widened(eta, full.problem.space.size)
        most = stage.directions(full.problem.operator.rays_a_pixel[0])
        directions = informed(full, eta, stage.tail, most)
        told = evidence(part, directions.basis, fov, search=False)
        few = evidence(part, directions.basis[:, :middle_rank], fov, search=False)
        shapes = other_shapes(jax.random.fold_in(key, 1), told.problem, eta[0], SHAPES)
        if len(shapes):
            # these modes are there at the image's own resolution only
            eta = jnp.concatenate([eta, polished(few, shapes, 2, stage.within).eta])
        modes = polished(few if rough else told, eta, stage.keep, stage.within)
        if not rough:
            every = [curved(told, jax.tree.map(lambda leaf, i=i: leaf[i], modes)) for i in range(len(modes.eta))]
            modes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
        bar.advance()
    return Start(modes, fov, shape, directions, observation)
