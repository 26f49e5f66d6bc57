"""Independent work, one item after the other on each device: chains, starts, draws."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec


def spread(function: Callable[[Any, Any], Any], shared: Any, items: Any, batch_size: int | None = None) -> Any:
    """[function(shared, item) for item in items], stacked, over as many devices as divide the items' number.

    items: a pytree whose leaves lead with the items. shared: a pytree that every device gets whole. Each device maps
    one item at a time, or `batch_size` of them. An item's result does not depend on how many devices there are.
    """
    count = len(jax.tree.leaves(items)[0])
    devices = next(n for n in range(min(count, jax.local_device_count()), 0, -1) if count % n == 0)
    arrays, static = eqx.partition(shared, eqx.is_array)

    def one_device(arrays, items):
        whole = eqx.combine(arrays, static)
        return jax.lax.map(lambda item: function(whole, item), items, batch_size=batch_size)

    if devices == 1:
        return one_device(arrays, items)
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("items",))
    each, all_of_it = PartitionSpec("items"), PartitionSpec()
    return jax.shard_map(one_device, mesh=mesh, in_specs=(all_of_it, each), out_specs=each, check_vma=False)(
        arrays, items
    )
