"""The posterior of the source for a known lens, `--lens-params FILE`: independent draws by guided reverse diffusion."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RunConfig, SourceConfig
from ..errors import BlindlensError
from ..guidance import Spectral
from ..lens.mass import LensModel
from ..observation import Observation
from ..prior import Denoiser, GaussianPrior
from ..progress import Progress
from ..sampler.schedule import Schedule
from .blocks import Draws, Trace, run_blocks
from .evidence import Evidence
from .given import complete, read_sets
from .initialise import trimmed
from .problem import Problem, build_problem
from .source import draw_sources, guide, misfits
from .stages import Store


class Known(NamedTuple):
    """eta: (d,). fov: the source's field, arcsec. shape: (ny, nx), the part of the image that sees the source."""

    eta: Array
    fov: float
    shape: tuple[int, int]


def known_lens(key: Array, observation: Observation, prior: GaussianPrior, lens: LensModel, config: RunConfig) -> Known:
    """The one set in `config.lens_params`, and what is needed beside it.

    Parameters beside the lens's own (`flux_scale`, `source_fov`) that the file leaves out are those of the greatest
    evidence under a Gaussian prior. BlindlensError for a file that leaves out more or holds more than one set.
    """
    sets = read_sets(config.lens_params)
    if len(sets) > 1 or (missing := [name for name in lens.space.names if name not in sets[0]]):
        what = f"it holds {len(sets)}" if len(sets) > 1 else f"{missing[0]} is missing"
        raise BlindlensError(f"{config.lens_params}: --lens-params takes one whole set of lens parameters; {what}")

    def evidence(fov: float | None) -> Evidence:
        problem = build_problem(observation, prior, lens, config, fov)
        return Evidence(problem, prior.basis[:, : config.initialise.rank], prior.mean)

    fov, whole = config.source_fov, evidence(config.source_fov)
    try:
        eta = jnp.asarray(complete(key, whole, sets, config.initialise.draws)[0][0])
    except BlindlensError as error:
        raise BlindlensError(f"{config.lens_params}: {error}") from None
    if fov is None:
        params = whole.problem.params(eta)
        fov = float(params.pop("source_fov"))
        whole = evidence(fov)
        eta = whole.problem.space.to_normal(params)
    shape = trimmed(whole, eta[None], observation.shape, 1) if config.trim else observation.shape
    return Known(eta, fov, shape)


def sample(
    key: Array,
    problem: Problem,
    prior: Denoiser,
    eta: Array,
    chains: int,
    draws: int,
    stage: SourceConfig,
    store: Store,
    progress: Progress,
) -> Draws:
    """`draws` draws of each of `chains` chains, all independent; eta (d,): the known lens."""
    A, y = problem.measurement(problem.params(eta))
    schedule, solver = Schedule(), Spectral.of(A) if stage.solve == "spectral" else None
    guided = guide(stage.guidance, prior, A, y, schedule, solver)
    # a block gives each chain as many draws as keep the devices busy
    block = min(draws, max(1, stage.batch * jax.local_device_count() // chains))

    def advance(b: int, nothing: np.ndarray, traces: list[Trace]) -> tuple[np.ndarray, Trace]:
        # a draw's number does not depend on the size of the blocks
        numbers = b * block * chains + jnp.arange(block * chains)
        drawn = draw_sources(jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers), guided, prior, schedule, stage)
        lens = jnp.tile(eta, (len(numbers), 1))
        flat = {
            "eta": np.asarray(lens),
            "x": np.asarray(drawn.x),
            "a": np.zeros((len(numbers), 0), np.float32),
            "chi2_per_pixel": np.asarray(misfits(problem, lens, drawn.x)),
            "residual": np.asarray(drawn.residual),
        }
        return nothing, {name: v.reshape(block, chains, *v.shape[1:]).swapaxes(0, 1) for name, v in flat.items()}

    traces = run_blocks(store, np.zeros(0), -(-draws // block), advance, progress)
    return Draws.of(traces, draws, {"guidance": stage.guidance.method})
