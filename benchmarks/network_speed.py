"""Networks of score models: forward and gradient, JAX (compiled) against PyTorch (eager, eval), one run.

python benchmarks/network_speed.py [--batch 8] [--npix 64] [--repeats 5] [--only NAME]; PyTorch's side needs torch and
score_models (pip install torch; pip install --no-deps score_models==0.5.11; pip install torch-ema h5py tqdm), else only
JAX's is timed. float32; the same weights on both sides, compared before they are timed; the gradient is a
vector-Jacobian product with respect to the images. Best of the repeats, taken in turns; PyTorch in the faster of its
memory layouts. "CPU" is the process's CPU time, which a busy machine spoils less; GFLOP is XLA's count of the forward.
For one thread: taskset -c 1 (XLA) and OMP_NUM_THREADS=1 (PyTorch).
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from blindlens.prior.import_score_models import tensor_names
from blindlens.prior.networks import Compact, NCSNpp, NCSNppConfig
from blindlens.prior.score import ScorePrior, Span

try:
    import score_models
    import torch
except ImportError as error:
    print(f"PyTorch's side is left out: {error} (this file's first lines say what to install)")
    score_models = torch = None


class Contender(NamedTuple):
    """forward(x, t) and gradient(x, t, v), (b, n, n), (b,), (b, n, n) in NumPy; GFLOP of an image or nothing."""

    forward: Callable
    gradient: Callable
    gflop: float | None = None


def in_jax(network, x, t, v):
    """Both functions compiled here, so that only running is timed later."""

    @jax.jit
    def forward(leaves, x, t):
        return jax.vmap(jax.tree.unflatten(structure, leaves))(x, t)

    @jax.jit
    def gradient(leaves, x, t, v):
        return jax.vjp(lambda x: forward(leaves, x, t), x)[1](v)[0]

    leaves, structure = jax.tree.flatten(network)
    flop = forward.lower(leaves, x, t).cost_analysis()["flops"]
    for name, function, arguments in (("forward", forward, (x, t)), ("gradient", gradient, (x, t, v))):
        start = time.perf_counter()
        jax.block_until_ready(function(leaves, *arguments))
        print(f"  first call of the {name}, compiling included: {time.perf_counter() - start:.1f} s", flush=True)
    return Contender(
        lambda x, t: np.asarray(forward(leaves, x, t)),
        lambda x, t, v: np.asarray(gradient(leaves, x, t, v)),
        flop / len(x) / 1e9,
    )


def torch_network(network, layout):
    """score_models' network with the weights of ours, a module of (t, x)."""
    config = network.config.model_dump()
    model = score_models.NCSNpp(**config).to(memory_format=layout).eval().requires_grad_(False)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(network)]
    arrays = [a.transpose(3, 2, 0, 1) if a.ndim == 4 else a for a in leaves]
    names = tensor_names(network)
    model.load_state_dict({k: torch.tensor(np.ascontiguousarray(a)) for k, a in zip(names, arrays, strict=True)})
    return model


def in_torch(network, layout):
    """Its forward and gradient."""
    model = torch_network(network, layout)

    def forward(x, t):
        with torch.no_grad():
            return model(torch.tensor(t), torch.tensor(x)[:, None])[:, 0].numpy()

    def gradient(x, t, v):
        x = torch.tensor(x)[:, None].requires_grad_()
        return torch.autograd.grad(model(torch.tensor(t), x), x, torch.tensor(v)[:, None])[0][:, 0].numpy()

    return Contender(forward, gradient)


def ncsnpp(method):
    def make(x, t, v):
        # init_scale=1: output layers that say something, so that the comparison does
        config = NCSNppConfig(combine_method=method, init_scale=1.0)
        network = NCSNpp.init(jax.random.key(0), config)
        contenders = {"jax": in_jax(network, x, t, v)}
        if torch is not None:
            contenders["torch"] = in_torch(network, torch.contiguous_format)
            contenders["torch, channels last"] = in_torch(network, torch.channels_last)
        return network, contenders

    return make


def compact(x, t, v):
    """The package's own small network, with its preconditioning; t is sigma here. It has no rival."""
    network = ScorePrior(Compact.init(jax.random.key(0)), Span(0.5, 0.001, 80.0), "edm", 1.0, 0.0, x.shape[-1], "-")
    return network, {"jax": in_jax(network, x, t, v)}


# name -> function of (x, t, v) that returns the network and its contenders, "jax" first; the others are optional
NETWORKS = {"compact": compact, "ncsnpp, sum": ncsnpp("sum"), "ncsnpp, cat": ncsnpp("cat")}


def compare(contenders, which, arguments, repeats):
    """{contender: (wall, CPU) in s}, the least of the repeats, and the greatest relative disagreement with JAX."""
    results = {name: getattr(c, which)(*arguments) for name, c in contenders.items()}
    ours = results["jax"]
    error = max(float(np.linalg.norm(r - ours) / np.linalg.norm(ours)) for r in results.values())
    times = dict.fromkeys(contenders, (np.inf, np.inf))
    for _ in range(repeats):
        for name, contender in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            getattr(contender, which)(*arguments)
            taken = time.perf_counter() - wall, time.process_time() - cpu
            times[name] = tuple(map(min, times[name], taken))
    return times, error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--npix", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=list(NETWORKS), help="one network")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, arguments.batch, dtype=np.float32)
    x, v = rng.normal(size=(2, arguments.batch, arguments.npix, arguments.npix)).astype(np.float32)
    print(f"batch {arguments.batch}, {arguments.npix} x {arguments.npix}; jax {jax.__version__} on "
          f"{jax.devices()[0].platform}" + (f", torch {torch.__version__} with {torch.get_num_threads()} threads, "
          "score_models 0.5.11" if torch is not None else ""))  # fmt: skip
    for name in [arguments.only] if arguments.only else NETWORKS:
        network, contenders = NETWORKS[name](jnp.asarray(x), jnp.asarray(t), jnp.asarray(v))
        count = sum(leaf.size for leaf in jax.tree.leaves(network))
        gflop = contenders["jax"].gflop
        print(f"{name}: {count / 1e6:.2f} M parameters, {gflop:.2f} GFLOP a forward of one image")
        for which, inputs in (("forward", (x, t)), ("gradient", (x, t, v))):
            times, error = compare(contenders, which, inputs, arguments.repeats)
            wall, cpu = times.pop("jax")
            line = f"  {which:9} jax {1e3 * wall:7.0f} ms (CPU {1e3 * cpu:7.0f})"
            if which == "forward":
                line += f" {gflop * arguments.batch / wall:6.0f} GFLOP/s"
            if times:
                best = min(times, key=times.get)
                line += (f"   {best} {1e3 * times[best][0]:7.0f} ms (CPU {1e3 * times[best][1]:7.0f})"
                         f"   ratio {times[best][0] / wall:5.2f} (CPU {times[best][1] / cpu:5.2f})"
                         f"   disagreement {error:.0e}")  # fmt: skip
            print(line, flush=True)


if __name__ == "__main__":
    main()
