"""The run of `latent`: the warm-up of `renoise`, then flights in the flow's coordinates; for one system or several."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..config import RunConfig
from ..prior import Denoiser
from ..progress import Progress
from .blocks import Draws, Trace, run_blocks
from .latent import Latent, Point, factored
from .renoise import Renoise
from .renoise_run import Group, Run, System, gauge_stats, steered, swept
from .stages import Store


class Flights(NamedTuple):
    """What a sweep hands to the next. come: the warm-up's. Then the points, and by system the angle of a flight's
    steps, (systems, 1), the sum of the metrics so far, (systems, m, m), and their number, (systems,).
    """

    come: Run
    points: Point
    angles: np.ndarray
    metric: np.ndarray
    metrics: np.ndarray


def sample(
    systems: Sequence[System],
    prior: Denoiser,
    chains: int,
    draws: int,
    config: RunConfig,
    store: Store,
    progress: Progress,
) -> list[Draws]:
    """`draws` draws of each of `chains` chains of each system; as of `renoise_run`."""
    far, near, group = config.renoise, config.latent, Group.of(systems, chains, config.renoise)
    renoise = Renoise(group.problem, prior, group.probes, group.modes, far)
    latent, which = Latent(group.problem, prior, group.probes, near), group.which

    def come(b: int, run: Flights) -> tuple[Flights, Trace]:
        then, info = swept(renoise, group, b, run.come)
        points = run.points
        if b + 1 == far.warmup:
            keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(group.block_keys(b))
            points = Point(then.chains.eta, latent.begin(keys, then.chains.x))
        return run._replace(come=then, points=points), {"chi2_per_pixel": np.asarray(info.chi2_per_pixel)[:, None]}

    def advance(b: int, run: Flights, traces: list[Trace]) -> tuple[Flights, Trace]:
        if b < far.warmup:
            return come(b, run)
        adapt, early = b < far.warmup + near.warmup, b < far.warmup + near.warmup / 2
        L = jnp.asarray(factored(run.metric / run.metrics[:, None, None]), jnp.float32)
        angle = jnp.asarray(run.angles.astype(np.float32)[which, 0])
        points, seen, P = latent.run(group.block_keys(b), run.points, jnp.asarray(which), L, angle, jnp.asarray(adapt))
        trace = {"eta": points.eta, "angle": run.angles[which, 0], **seen._asdict()}
        trace |= gauge_stats(trace.pop("gauge_acceptance"))
        now = run._replace(points=points)
        if adapt:
            # where chains came from is forgotten by halves
            kept = 0.5 if early else 1.0
            now = now._replace(
                angles=np.array(list(map(steered, run.angles, group.by_system(seen.acceptance)[..., None]))),
                metric=kept * run.metric + group.by_system(np.asarray(P, float)).sum(1),
                metrics=kept * run.metrics + chains,
            )
        # a block is a sweep
        return now, {name: np.asarray(t)[:, None] for name, t in trace.items()}

    before, begin, count = far.warmup + near.warmup, group.begin, len(systems)
    size = begin.eta.shape[1] + group.probes.shape[2]
    # nothing is known of the metric in the first sweep, in which points hardly move; then it is forgotten
    metric, metrics = np.tile(np.eye(size) * 1e-2, (count, 1, 1)), np.full(count, 1e-6)
    angles, points = np.full((count, 1), near.angle), Point(begin.eta, begin.x)
    state = Flights(group.begun(far), points, angles, metric, metrics)
    traces = run_blocks(store, state, before + draws * near.thin, advance, progress)
    return group.draws(traces[before + near.thin - 1 :: near.thin], draws, lambda _: {"sigma": near.sigma})
