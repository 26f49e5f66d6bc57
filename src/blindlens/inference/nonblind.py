"""The posterior of the source for a known lens, `--lens-params FILE`: independent draws by guided reverse diffusion."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import RunConfig, SourceConfig
from ..errors import BlindlensError
from ..guidance import Solver, Spectral
from ..lens.mass import LensModel
from ..linear import LinearOperator
from ..observation import Observation
from ..prior import Denoiser, GaussianPrior
from ..progress import Progress
from ..sampler.schedule import Schedule
from .blocks import Draws, Trace, run_blocks
from .evidence import Evidence
from .given import complete, read_sets
from .problem import Problem, build_problem
from .source import draw_sources, guide
from .stages import Store


def known_lens(
    key: Array, observation: Observation, prior: GaussianPrior, lens: LensModel, config: RunConfig
) -> tuple[Array, float]:
    """eta (d,) of the one set in `config.lens_params`, and the source's field in arcsec.

    Parameters beside the lens's own (`flux_scale`, `source_fov`) that the file leaves out are those of the greatest
    evidence under a Gaussian prior. BlindlensError for a file that leaves out more or holds more than one set.
    """
    sets = read_sets(config.lens_params)
    if len(sets) > 1 or (missing := [name for name in lens.space.names if name not in sets[0]]):
        what = f"it holds {len(sets)}" if len(sets) > 1 else f"{missing[0]} is missing"
        raise BlindlensError(f"{config.lens_params}: --lens-params takes one whole set of lens parameters; {what}")
    basis = prior.basis[:, : config.initialise.rank]
    problem = build_problem(observation, prior, lens, config, config.source_fov)
    eta, _ = complete(key, Evidence(problem, basis, prior.mean), sets, config.initialise.draws)
    params = problem.params(jnp.asarray(eta[0]))
    if config.source_fov is not None:
        return jnp.asarray(eta[0]), config.source_fov
    fov = float(params.pop("source_fov"))
    return build_problem(observation, prior, lens, config, fov).space.to_normal(params), fov


def solver(A: LinearOperator, stage: SourceConfig) -> Solver | None:
    """What is decomposed once and for all, if it is asked for. BlindlensError where no guidance would use it."""
    if stage.solve == "cg":
        return None
    if stage.guidance.method not in ("cla", "pigdm"):
        raise BlindlensError(f"source.solve: spectral is for cla and pigdm, not for {stage.guidance.method}; give cg")
    return Spectral.of(A)


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
    if problem.light is not None:
        raise BlindlensError("--lens-params is for images without lens light; give --lens-light none")
    A, y = problem.measurement(problem.params(eta), jnp.zeros(0, problem.y.dtype))
    guided, schedule = guide(stage.guidance, prior, A, y, Schedule(), solver(A, stage)), Schedule()
    # a block gives each chain as many draws as keep the devices busy
    block = min(draws, max(1, stage.batch * jax.local_device_count() // chains))

    def advance(b: int, nothing: np.ndarray, traces: list[Trace]) -> tuple[np.ndarray, Trace]:
        numbers = b * block * chains + jnp.arange(block * chains)
        drawn = draw_sources(jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers), guided, prior, schedule, stage)
        chi2 = [float(jnp.sum((y - A.mv(x)) ** 2) / jnp.sum(problem.weight > 0)) for x in drawn.x]
        flat = {
            "eta": np.broadcast_to(np.asarray(eta), (len(numbers), len(eta))),
            "x": np.asarray(drawn.x),
            "a": np.zeros((len(numbers), 0), np.float32),
            "chi2_per_pixel": np.array(chi2),
            "residual": np.asarray(drawn.residual),
        }
        return nothing, {name: v.reshape(block, chains, *v.shape[1:]).swapaxes(0, 1) for name, v in flat.items()}

    traces = run_blocks(store, np.zeros(0), -(-draws // block), advance, progress)
    return Draws.of(traces, draws, {"guidance": stage.guidance.method})
