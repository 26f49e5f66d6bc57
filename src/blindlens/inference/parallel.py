"""Independent work (chains, starts, draws): one item after the other on each CPU core, many at once elsewhere."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

AT_ONCE = 128
"""Items at a time on an accelerator, whose arithmetic one item does not fill."""


def spread(function: Callable[[Any, Any], Any], shared: Any, items: Any, batch_size: int | None = None) -> Any:
    """[function(shared, item) for item in items], stacked, over as many devices as divide the items' number.

    items: a pytree whose leaves lead with the items. shared: a pytree that every device gets whole. A CPU maps one item
    at a time, or `batch_size` of them; an accelerator AT_ONCE of them at least. An item's result does not depend on how
    many devices there are; on a CPU, without a `batch_size`, nor on the other items. What factorises matrices goes
    without one: after some batches of products and Cholesky factors XLA's threads stand still for ever where a CPU has
    several devices (jax 0.10).
    """
    count = len(jax.tree.leaves(items)[0])
    if jax.default_backend() != "cpu":
        batch_size = max(batch_size or 1, AT_ONCE)
    devices = next(n for n in range(min(count, jax.local_device_count()), 0, -1) if count % n == 0)
    arrays, static = eqx.partition(shared, eqx.is_array)

    def one_device(arrays, items):
        whole = eqx.combine(arrays, static)
        return _mapped(lambda item: function(whole, item), items, batch_size)

    if devices == 1:
        return one_device(arrays, items)
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("items",))
    each, all_of_it = PartitionSpec("items"), PartitionSpec()
    return jax.shard_map(one_device, mesh=mesh, in_specs=(all_of_it, each), out_specs=each, check_vma=False)(
        arrays, items
    )


def in_turns(function: Callable[[Any, Any], Any], shared: Any, items: Any) -> Any:
    """function(shared, items) for as many items at a time as there are devices, stacked, as NumPy arrays: one program
    for any number of items.
    """
    count, k = len(jax.tree.leaves(items)[0]), jax.local_device_count()
    # the last ones are repeated to fill the devices
    full = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], -count % k, 0)]), items)
    turns = [jax.tree.map(lambda leaf, i=i: leaf[i : i + k], full) for i in range(0, count, k)]
    done = [jax.tree.map(np.asarray, function(shared, turn)) for turn in turns]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *done)


def _mapped(function: Callable[[Any], Any], items: Any, size: int | None) -> Any:
    """jax.lax.map in batches, which also takes arrays without elements (the amplitudes of no light)."""
    count = len(jax.tree.leaves(items)[0])
    if size is None:
        return jax.lax.map(function, items)
    many, full = jax.vmap(function), count // size * size
    if count <= size:
        return many(items)
    batches = jax.tree.map(lambda leaf: leaf[:full].reshape(full // size, size, *leaf.shape[1:]), items)
    out = jax.tree.map(lambda leaf: leaf.reshape(full, *leaf.shape[2:]), jax.lax.map(many, batches))
    if full == count:
        return out
    rest = many(jax.tree.map(lambda leaf: leaf[full:], items))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), out, rest)


def stacked(trees: Sequence[Any]) -> Any:
    """One pytree whose arrays lead with the given ones. ValueError where anything but the arrays' values differs."""
    arrays, rest = zip(*(eqx.partition(tree, eqx.is_array) for tree in trees), strict=True)
    if not all(bool(eqx.tree_equal(rest[0], other)) for other in rest[1:]):
        raise ValueError("only what differs in the values of its arrays can be stacked")
    return eqx.combine(jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays), rest[0])


def taken(tree: Any, i: Array) -> Any:
    """Number i of what `stacked` made."""
    return jax.tree.map(lambda leaf: leaf[i] if eqx.is_array(leaf) else leaf, tree)
