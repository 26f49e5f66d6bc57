"""Work spread over devices gives what one device gives."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.inference.parallel import in_turns, spread, stacked, taken

SCRIPT = """
import jax, jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", {devices})
from blindlens.inference.parallel import spread

def one(shared, item):
    matrix, power = shared
    key, v = item
    return jnp.sin(matrix @ v) ** power + jax.random.normal(key, v.shape)

keys = jax.random.split(jax.random.key(0), 6)
items = (keys, jnp.arange(24.0).reshape(6, 4))
out = jax.jit(lambda m, items: spread(one, (m, 2), items))(jnp.eye(4) + 0.1, items)
print(len(out.sharding.device_set), out.tolist())
"""


def run(devices: int) -> tuple[str, str]:
    command = [sys.executable, "-c", SCRIPT.format(devices=devices)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=dict(os.environ, JAX_PLATFORMS="cpu")
    )
    used, _, values = done.stdout.partition(" ")
    return used, values


def test_results_do_not_depend_on_the_number_of_devices():
    one, three, four = run(1), run(3), run(4)
    assert one[0] == "1" and three[0] == "3"
    assert four[0] == "3"  # of four devices three divide six items
    assert one[1] == three[1] == four[1]


def test_an_accelerator_that_takes_many_at_once_gives_the_same(monkeypatch):
    def one(shared, item):
        v, stop = item
        return jax.lax.while_loop(lambda c: c[1] < stop, lambda c: (jnp.sin(shared @ c[0]), c[1] + 1), (v, 0))[0]

    items = (jnp.arange(24.0).reshape(6, 4), jnp.arange(6))
    matrix = jnp.eye(4) + 0.1
    alone = spread(one, matrix, items)
    monkeypatch.setattr("blindlens.inference.parallel.jax.default_backend", lambda: "gpu")
    np.testing.assert_allclose(spread(one, matrix, items), alone, atol=1e-6)
    np.testing.assert_allclose(alone[0], items[0][0])  # control: items stop where they should
    assert np.abs(alone[1] - items[0][1]).max() > 0.1


def test_what_is_stacked_comes_back_and_only_values_may_differ():
    trees = [{"a": jnp.full(3, float(k)), "b": "same"} for k in range(3)]
    assert float(taken(stacked(trees), jnp.array(2))["a"][0]) == 2.0
    with pytest.raises(ValueError, match="only what differs"):
        stacked([*trees, {"a": jnp.zeros(3), "b": "other"}])
    with pytest.raises(ValueError):
        stacked([*trees, {"a": jnp.zeros(4), "b": "same"}])


EVIDENCES = """
import jax, jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", 2)
from blindlens.inference.parallel import spread
from blindlens.inference.problem import condition

H = jax.random.normal(jax.random.key(0), (4489, 68))
evidence = lambda H, s: condition(H[:, 0], s * H)[0]
values = jax.jit(lambda H, scales: spread(evidence, H, scales))(H, jnp.linspace(0.1, 1, 64))
assert len(values.sharding.device_set) == 2 and bool(jnp.isfinite(values).all())
"""


def test_evidences_of_a_real_lens_size_come_to_an_end_on_two_devices():
    """In batches of eight, as the search once took them, this never ends."""
    command = [sys.executable, "-c", EVIDENCES]
    subprocess.run(command, check=True, timeout=120, env=dict(os.environ, JAX_PLATFORMS="cpu"))


def test_batches_of_an_accelerator_take_arrays_without_elements(monkeypatch):
    items = (jnp.arange(14.0).reshape(7, 2), jnp.zeros((7, 0)))
    monkeypatch.setattr("blindlens.inference.parallel.jax.default_backend", lambda: "gpu")
    for at_once in (1, 3, 7, 20):  # a rest, none, all at once
        monkeypatch.setattr("blindlens.inference.parallel.AT_ONCE", at_once)
        squared, none = spread(lambda shared, item: (shared * item[0] ** 2, item[1]), jnp.asarray(2.0), items)
        np.testing.assert_array_equal(squared, 2 * items[0] ** 2)
        assert none.shape == (7, 0)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_in_turns_takes_as_many_as_there_are_devices(count, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    sizes = []

    def twice(shared, items):
        sizes.append(len(items["v"]))
        return {"twice": shared * items["v"], "sum": items["v"].sum(1)}

    v = jnp.arange(3.0 * count).reshape(count, 3)
    out = in_turns(twice, 2.0, {"v": v})
    np.testing.assert_array_equal(out["twice"], 2 * v)
    np.testing.assert_array_equal(out["sum"], v.sum(1))
    assert sizes == [2] * -(-count // 2)
