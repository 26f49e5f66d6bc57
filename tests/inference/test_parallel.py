"""Work spread over devices gives what one device gives."""

import os
import subprocess
import sys

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
