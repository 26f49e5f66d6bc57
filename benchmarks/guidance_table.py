"""The posterior of the source for a known lens: every guidance against the exact posterior of a Gaussian prior.

python benchmarks/guidance_table.py OUT [--row NAME ...] [--draws 32] [--steps 400]
python benchmarks/guidance_table.py OUT --table

The first form computes the rows that OUT does not hold yet; the second prints the table of docs/paper_method.md.

One system in the set-up of arXiv:2511.04792: 64 x 64 image and source, noise 0.35, a source drawn from the prior
`galaxy-gaussian`, a lens drawn from its prior, the image made by the operator that infers, so that the exact posterior
is known: covariance S - S A^T (A S A^T + I)^-1 A S, computed densely in double precision.
"""

import argparse
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from blindlens.config import GuidanceConfig, SourceConfig
from blindlens.devices import prepare_jax
from blindlens.guidance import RULES, Spectral
from blindlens.inference.source import draw_sources, guide
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.lens.simulate import gaussian_psf
from blindlens.linear import LinearOperator, Scaled
from blindlens.prior import GaussianPrior, load_prior
from blindlens.sampler.schedule import Schedule
from blindlens.sampler.sde import CALLS, diffuse
from blindlens.storage import load_arrays, save_arrays

NOISE, PIXEL, FOV = 0.35, 12 / 64, 6.24
STEPS = {"mmps": 100}
"""Of the diffusion, where they are not those of the command line: MMPS takes a gradient through the denoiser a step of
its conjugate gradients."""


def rows() -> dict[str, GuidanceConfig]:
    """The configurations compared, by name."""
    named = {
        f"{method} {rule}": GuidanceConfig(method=method, variance=rule)
        for method in ("cla", "pigdm")
        for rule in RULES
    }
    named["dps"] = GuidanceConfig(method="dps")
    named["dps, steps of 0.3"] = GuidanceConfig(method="dps", zeta=0.3 / 0.027)
    named["mmps"] = GuidanceConfig(method="mmps", cg_tolerance=1e-3, cg_steps=100)
    named["mmps, 3 cg steps"] = GuidanceConfig(method="mmps", cg_tolerance=1e-3, cg_steps=3)
    return named


def system() -> tuple[GaussianPrior, LinearOperator, jax.Array, jax.Array]:
    """Prior, whitened operator, whitened data without the pedestal, true source in model units."""
    prior = load_prior("galaxy-gaussian")
    assert isinstance(prior, GaussianPrior)
    lens_key, source_key, noise_key = jax.random.split(jax.random.key(2025), 3)
    lens = LensModel()
    family = LensOperator(lens, (64, 64), PIXEL, prior.n, FOV, gaussian_psf(0.375, PIXEL))
    A = Scaled(jnp.asarray(prior.scale / NOISE), family(lens.space.sample(lens_key)))
    x = prior.sample(source_key)
    return prior, A, A.mv(x) + jax.random.normal(noise_key, (64, 64)), x


def exact(prior: GaussianPrior, A: LinearOperator, y: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean (4096,) and covariance (4096, 4096)."""
    n2 = prior.n**2
    dense = np.asarray(jax.lax.map(A.mv, jnp.eye(n2).reshape(n2, prior.n, prior.n), batch_size=64), np.float64)
    dense = dense.reshape(n2, -1).T
    basis = np.asarray(prior.basis, np.float64)
    E = basis / np.linalg.norm(basis, axis=0)
    S = basis @ basis.T + prior.delta**2 * (np.eye(n2) - E @ E.T)
    AS = dense @ S
    factor = scipy.linalg.cho_factor(AS @ dense.T + np.eye(len(dense)))
    mean = np.asarray(prior.mean, np.float64).ravel()
    r = np.asarray(y, np.float64).ravel() - dense @ mean
    gain = scipy.linalg.cho_solve(factor, AS)
    return mean + gain.T @ r, S - AS.T @ gain


EXACT = {"exact score": (1, None), "exact score, 100 steps": (1, 100), "exact score, 100 steps, 8 x draws": (8, 100)}
"""Rows of the exact E[x | x_t, y], which show what scatter and steps alone do: how many times the draws, and steps
where they are not those of the command line. Draws of as many steps have the same noise throughout.
"""


class ExactScore(eqx.Module):
    """E[x | x_t, y] of the Gaussian posterior with this mean and covariance E diag(lam) E^T."""

    mean: jax.Array
    lam: jax.Array
    E: jax.Array

    def __call__(self, x_t: jax.Array, sigma: jax.Array) -> jax.Array:
        c = (x_t.ravel() - self.mean) @ self.E
        return (self.mean + self.E @ (self.lam / (self.lam + sigma**2) * c)).reshape(x_t.shape)


def run_exact(name: str, out: Path, draws: int, steps: int) -> None:
    """One row by the exact score, with the random numbers of the other rows and more."""
    path = out / file_name(name)
    if path.is_file():
        return
    prior, A, y, _ = system()
    mean, covariance = exact(prior, A, y)
    lam, E = scipy.linalg.eigh(covariance)
    denoise = ExactScore(*(jnp.asarray(t, jnp.float32) for t in (mean, np.maximum(lam, 0), E)))
    times, own = EXACT[name]
    sigmas = Schedule().ladder(own or steps)

    @jax.jit
    def one(key: jax.Array) -> jax.Array:
        start, walk, _ = jax.random.split(key, 3)
        x_t = Schedule().sigma_max * jax.random.normal(start, (prior.n, prior.n))
        return prior(diffuse(walk, denoise, x_t, sigmas), sigmas[-1])

    keys = [jax.random.split(jax.random.key(1 + k), draws) for k in range(times)]
    begun = time.perf_counter()
    x = np.asarray(jax.lax.map(one, jnp.concatenate(keys), batch_size=16))
    header = {"name": name, "seconds": time.perf_counter() - begun, "calls": 2 * (len(sigmas) - 1) + 1}
    save_arrays(path, {"x": x}, header)


def file_name(name: str) -> str:
    return f"{name.replace(' ', '_').replace(',', '')}.safetensors"


def run(name: str, out: Path, draws: int, steps: int) -> None:
    """One row: draws of the source."""
    path = out / file_name(name)
    if path.is_file():
        return
    prior, A, y, _ = system()
    config = rows()[name]
    stage = SourceConfig(guidance=config, steps=STEPS.get(config.method, steps))
    spectral = Spectral.of(A) if config.method in ("cla", "pigdm") else None
    guided = guide(config, prior, A, y, Schedule(), spectral)
    keys = jax.random.split(jax.random.key(1), draws)
    begun = time.perf_counter()
    x = np.asarray(draw_sources(keys, guided, prior, Schedule(), stage).x)
    header = {"name": name, "seconds": time.perf_counter() - begun, "steps": stage.steps}
    header["calls"] = CALLS[stage.solver] * stage.steps + 1
    save_arrays(path, {"x": x}, header)
    print(f"{name}: {header['seconds']:.0f} s", flush=True)


def table(out: Path) -> list[dict]:
    """Print and return a line a row, and one for exact draws: what is to be reached with as many."""
    prior, A, y, truth = system()
    mean, covariance = exact(prior, A, y)
    lam, E = scipy.linalg.eigh(covariance)
    sd = np.sqrt(np.diag(covariance))
    loaded = [load_arrays(path) for path in sorted(out.glob("*.safetensors"))]
    if not loaded:
        raise SystemExit(f"{out} holds no rows yet; run this without --table first")
    by_name = {header["name"]: arrays["x"] for arrays, header in loaded}
    if {"mmps", "exact score, 100 steps"} <= set(by_name):
        same, ours = by_name["exact score, 100 steps"], by_name["mmps"]
        apart = np.linalg.norm(ours - same) / np.linalg.norm(same - same.mean(0))
        print(f"mmps from the exact score, same noise and steps: {apart:.1e} of the scatter between draws\n")
    count = len(loaded[0][0]["x"])
    rng = np.random.default_rng(0)
    perfect = mean + (rng.normal(size=(count, len(lam))) * np.sqrt(np.maximum(lam, 0))) @ E.T
    loaded.append(({"x": perfect.reshape(count, prior.n, prior.n)}, {"name": "exact draws", "calls": 0, "seconds": 0}))
    # directions by how wide the posterior leaves them: the widest, and those that the data determine
    groups = {"widest 100": slice(-100, None), "next 900": slice(-1000, -100)}
    lines = []
    for arrays, header in loaded:
        flat = arrays["x"].reshape(len(arrays["x"]), -1).astype(np.float64)
        chi2 = np.mean([float(jnp.mean((y - A.mv(jnp.asarray(x, jnp.float32))) ** 2)) for x in arrays["x"]])
        low, high = np.quantile(flat, [0.16, 0.84], axis=0)
        true = np.asarray(truth).ravel()
        used = sd > 0.05 * sd.max()
        line = {"name": header["name"], "mean error": np.sqrt(np.mean(((flat.mean(0) - mean) / sd)[used] ** 2))}
        for group, part in groups.items():
            spread = ((flat - flat.mean(0)) @ E[:, part]).var(0, ddof=1)
            line[f"width, {group}"] = np.sqrt(np.mean(spread / lam[part]))
        line["coverage"] = np.mean((true > low) & (true < high), where=used)
        line |= {"chi2": chi2, "calls": header["calls"], "seconds a draw": header["seconds"] / len(flat)}
        lines.append(line)
    print("| " + " | ".join(lines[0]) + " |")
    print("|" + "---|" * len(lines[0]))
    for line in lines:
        print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in line.values()) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--row", action="append", choices=[*rows(), *EXACT])
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    prepare_jax()
    jax.config.update("jax_default_matmul_precision", "highest")  # as `infer` has it
    if arguments.table:
        table(arguments.out)
        return
    for name in arguments.row or [*rows(), *EXACT]:
        (run_exact if name in EXACT else run)(name, arguments.out, arguments.draws, arguments.steps)


if __name__ == "__main__":
    main()
