"""A joint sampler's run in blocks of sweeps, each kept on disk, so that the same call goes on with it."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..errors import BlindlensError
from ..progress import Progress
from .stages import Store

State = TypeVar("State")

Trace = dict[str, np.ndarray]
"""A block's draws and statistics, (chain, draw, ...) each; `chi2_per_pixel` among them."""


class Draws(NamedTuple):
    """eta (chain, draw, d), x (chain, draw, n, n) model units, light amplitudes a (chain, draw, k); statistics (chain,
    draw) each; extra: plain values worth keeping beside the draws. marginal: eta (source, lens, d) of p(l | y) as a
    mixture over sources, if asked for.
    """

    eta: Array
    x: Array
    a: Array
    stats: dict[str, np.ndarray]
    extra: dict[str, Any]
    marginal: Array | None = None

    @staticmethod
    def of(traces: list[Trace], draws: int, extra: dict[str, Any]) -> "Draws":
        """The first `draws` draws of each chain."""
        whole = {name: np.concatenate([trace[name] for trace in traces], 1)[:, :draws] for name in traces[0]}
        return Draws(*(jnp.asarray(whole.pop(name)) for name in ("eta", "x", "a")), whole, extra)


def run_blocks(
    store: Store,
    state: State,
    total: int,
    advance: Callable[[int, State, list[Trace]], tuple[State, Trace]],
    progress: Progress,
) -> list[Trace]:
    """The traces of `total` blocks; advance(b, state, traces so far) does one. At most a block is lost on Ctrl-C."""
    state, traces, before = resumed(store, jax.tree.map(np.asarray, state))
    progress.times["sample"] = progress.times.get("sample", 0.0) + before
    begun = time.perf_counter()
    with progress.stage("sample", total) as bar:
        bar.advance(len(traces))
        for b in range(len(traces), total):
            new, trace = advance(b, state, traces)
            # plain arrays: those that lie spread over devices would have the program compiled anew
            state = jax.tree.map(np.asarray, new)
            traces.append(trace)
            store.write(f"block{b}", trace)
            # the draws first, then the state that goes on from there
            seconds = before + time.perf_counter() - begun
            leaves = {f"leaf{i}": v for i, v in enumerate(jax.tree.leaves(state))}
            store.write("chains", leaves, blocks=b + 1, seconds=seconds)
            bar.advance(chi2=float(np.mean(trace["chi2_per_pixel"])))
    return traces


def resumed(store: Store, state: State) -> tuple[State, list[Trace], float]:
    """State, blocks and seconds of an unfinished run of the same fingerprint, or the given state and no blocks.

    BlindlensError where the run is not whole, or another program's that had other chains.
    """
    kept = store.read("chains")
    if kept is None:
        return state, [], 0.0
    arrays, header = kept
    treedef = jax.tree.structure(state)
    found = [arrays[f"leaf{i}"] for i in range(len(arrays))]
    if [leaf.shape for leaf in found] != [np.shape(leaf) for leaf in jax.tree.leaves(state)]:
        raise BlindlensError(f"the unfinished run in {store.folder} is of another blindlens; remove that folder")
    state = jax.tree.unflatten(treedef, found)
    traces = []
    for b in range(header["blocks"]):
        part = store.read(f"block{b}")
        if part is None:
            raise BlindlensError(f"a part of the unfinished run in {store.folder} is missing; remove that folder")
        traces.append(part[0])
    return state, traces, header["seconds"]


def of_block(key: Array, b: int, chains: int, modes: int) -> tuple[Array, np.ndarray]:
    """A key for each chain's draw number b, (chains,), and the mode that it begins from: all of them in turn."""
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(key, b), k))(jnp.arange(chains))
    return keys, (np.arange(chains) + b * chains) % modes
