"""Training and denoising on an accelerator: JAX (compiled) against PyTorch + score_models, one run.

python benchmarks/training_speed.py [--batch 128] [--npix 64] [--seconds 4] [--only NAME]; PyTorch's side needs torch
and score_models (`network_speed.py` says how to install them), else only JAX's is timed.

A training step is denoising score matching with Adam on images that lie on the device: in JAX `objective.advance`,
running averages included, in PyTorch the same loss of score_models' network under autocast to bfloat16, channels last,
Adam(fused) where there is one, once eager and once through torch.compile. "Peak" is the share of the rate at which one
8192^3 product of bfloat16 runs in the same process (1024^3 on a CPU), a training step counted as three forward passes.
A draw from a prior takes 97 calls (`ScorePrior.sample`).
"""

import argparse
import functools
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from blindlens.prior.networks import NETWORKS, NCSNppConfig
from blindlens.prior.score import ScorePrior, Span
from blindlens.prior.training import TrainConfig
from blindlens.prior.training.objective import advance, first_state, in_precision

try:
    import score_models
    import torch
except ImportError as error:
    print(f"PyTorch's side is left out: {error} (network_speed.py says what to install)")
    score_models = torch = None

CALLS = 2 * 40 - 1 + 2 * 3 * 3
SHAPES = {"compact": {}, "compact, galaxy64": {"widths": (48, 112, 224), "blocks": 2}, "ncsnpp": {}}


def rate(step: Callable[[], object], wait: Callable[[object], object], seconds: float) -> float:
    """Calls a second, after two that don't count; the best of three."""
    for _ in range(2):
        wait(step())
    begun = time.perf_counter()
    wait(step())
    count = max(2, round(seconds / 3 / (time.perf_counter() - begun)))
    best = 0.0
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(count):
            out = step()
        wait(out)
        best = max(best, count / (time.perf_counter() - begun))
    return best


def peak(seconds: float) -> float:
    """FLOP a second of one product of matrices in bfloat16."""
    n = 1024 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    return 2 * n**3 * rate(lambda: product(a), jax.block_until_ready, seconds)


def forward_flop(prior: ScorePrior) -> float:
    """FLOP of a forward pass of one image, as XLA counts them for a CPU (on a GPU it does not count convolutions)."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        x = jnp.zeros((prior.n, prior.n))
        return jax.jit(lambda prior, x: prior(x, 0.5)).lower(prior, x).compile().cost_analysis()["flops"]


def in_jax(prior: ScorePrior, batch: int, precision: str, seconds: float) -> tuple[float, float]:
    """Images a second in training and through the denoiser."""
    config = TrainConfig(batch=batch, precision=precision, network="compact")
    x = jax.random.normal(jax.random.key(0), (batch, prior.n, prior.n))
    state = [first_state(prior, config)]
    step = eqx.filter_jit(lambda state, x: advance(state, jax.random.key(1), x, config))

    def train():
        state[0] = step(state[0], x)
        return state[0].loss

    quick = eqx.tree_at(lambda p: p.network, prior, in_precision(prior.network, jnp.dtype(precision)))
    denoise = eqx.filter_jit(lambda prior, x: prior(x, jnp.float32(0.5)))
    forward = batch * rate(lambda: denoise(quick, x), jax.block_until_ready, seconds)
    return batch * rate(train, jax.block_until_ready, seconds), forward


def in_torch(n: int, batch: int, compiled: bool, seconds: float) -> tuple[float, float]:
    """The same two numbers of score_models' NCSN++."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    model = score_models.NCSNpp(**NCSNppConfig().model_dump()).to(device, memory_format=torch.channels_last)
    network = torch.compile(model) if compiled else model
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=device == "cuda")
    x = torch.randn(batch, 1, n, n, device=device).to(memory_format=torch.channels_last)
    span = np.log(50.0 / 0.001)

    def train():
        t = torch.rand(batch, device=device)
        eps = torch.randn_like(x)
        sigma = (0.001 * torch.exp(span * t))[:, None, None, None]
        with torch.autocast(device, torch.bfloat16):
            loss = ((network(t, x + sigma * eps).float() + eps) ** 2).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        return loss

    def forward():
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return network(torch.full((batch,), 0.5, device=device), x)

    wait = (lambda _: torch.cuda.synchronize()) if device == "cuda" else (lambda _: None)
    return batch * rate(train, wait, seconds), batch * rate(forward, wait, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--npix", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", choices=list(SHAPES))
    given = parser.parse_args()
    top = peak(given.seconds)
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, batch {given.batch}, {given.npix} x {given.npix}; "
          f"peak {top / 1e12:.3g} TFLOP/s in bfloat16", flush=True)  # fmt: skip
    print("| network | where | training, images/s | steps/s | of peak | denoising, images/s | of peak | draws/s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in [given.only] if given.only else SHAPES:
        kind = name.split(",")[0]
        cls, shape, preconditioning = NETWORKS[kind]
        network = cls.init(jax.random.key(0), shape.from_mapping(SHAPES[name], name))
        prior = ScorePrior(network, Span(0.5, 0.001, 80.0), preconditioning, 1.0, 0.0, given.npix, name)
        rows = {f"jax, {p}": functools.partial(in_jax, prior, given.batch, p) for p in ("bfloat16", "float32")}
        if kind == "ncsnpp" and torch is not None:
            for where, compiled in (("torch", False), ("torch.compile", True)):
                rows[f"{where}, bfloat16"] = functools.partial(in_torch, given.npix, given.batch, compiled)
        flop = forward_flop(prior)
        for where, measure in rows.items():
            try:
                trained, denoised = measure(given.seconds)
            except Exception as error:  # torch.compile needs a compiler that not every machine has
                print(f"{where}: {type(error).__name__}: {error}")
                continue
            print(f"| {name} ({flop / 1e9:.2f} GFLOP) | {where} | {trained:.0f} | {trained / given.batch:.1f} | "
                  f"{3 * flop * trained / top:.3f} | {denoised:.0f} | {flop * denoised / top:.3f} | "
                  f"{denoised / CALLS:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
