"""The systems of joint_vs_oracle.py, small ones, against importance sampling: are the sampler and the oracle right?

python benchmarks/joint_vs_importance.py OUT [--first 0] [--systems 50]
python benchmarks/joint_vs_importance.py OUT --table

OUT: what `joint_vs_oracle.py OUT --size small --method split_gibbs --method evidence` has made. From a mixture of t
distributions that covers the draws of both methods together, 8000 lenses are weighted by the exact posterior over the
mixture's density: means and widths that no Markov chain decides. Effective lenses: 1 / sum of squared weights.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from joint_vs_oracle import SIZES, exact_evidence, system
from scipy.cluster.vq import kmeans2

from blindlens.inference.evidence import Evidence
from blindlens.sampler.kernels import Mixture
from blindlens.storage import load_arrays, save_arrays

SIZE, LENSES, COMPONENTS = SIZES["small"], 8000, 5
METHODS = ("split_gibbs", "evidence")


def covering(draws: np.ndarray) -> Mixture:
    """A mixture about clusters of the draws (N, d), their covariances and a little of that of all."""
    _, label = kmeans2(draws / draws.std(0), COMPONENTS, seed=1, minit="++")
    everything, means, factors, counts = np.cov(draws.T), [], [], []
    for c in range(COMPONENTS):
        mine = draws[label == c]
        if len(mine) > 3 * draws.shape[1]:
            means.append(mine.mean(0))
            factors.append(np.linalg.cholesky(np.cov(mine.T) + 0.02 * everything))
            counts.append(len(mine))
    f32 = jnp.float32
    return Mixture(
        jnp.asarray(np.array(means), f32), jnp.asarray(np.array(factors), f32), jnp.log(jnp.array(counts, f32))
    )


@jax.jit
def weighed(mixture: Mixture, evidence: Evidence, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Lenses (N, d) and log weights (N,)."""

    def one(key):
        eta = mixture.sample(key)
        return eta, evidence.log_posterior(eta) - mixture.log_density(eta)

    return jax.lax.map(one, keys)


def run(k: int, out: Path) -> None:
    """One system: mean, sd (d,) and the effective number."""
    path = out / f"importance-{k:03d}.safetensors"
    if path.is_file():
        return
    evidence = exact_evidence(system(k, SIZE), SIZE)
    draws = [load_arrays(out / f"{method}-{k:03d}.safetensors")[0]["eta"] for method in METHODS]
    pool = np.concatenate([d.reshape(-1, d.shape[-1]) for d in draws]).astype(np.float64)
    eta, log_weight = weighed(covering(pool), evidence, jax.random.split(jax.random.key(k), LENSES))
    eta, log_weight = np.asarray(eta, np.float64), np.nan_to_num(np.asarray(log_weight, np.float64), nan=-np.inf)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ eta
    arrays = {"mean": mean, "sd": np.sqrt(weight @ (eta - mean) ** 2), "effective": np.array(1 / np.sum(weight**2))}
    save_arrays(path, arrays, {})
    print(f"{path.name}: effective {arrays['effective']:.0f}", flush=True)


def table(out: Path) -> None:
    """Print bias and width of both methods."""
    paths = sorted(out.glob("importance-*.safetensors"))
    exact = [load_arrays(path)[0] for path in paths]
    effective = np.array([e["effective"] for e in exact])
    print(f"{len(paths)} systems; effective lenses: median {np.median(effective):.0f}, least {effective.min():.0f}")
    names = [name for block in SIZE.lens.space.blocks for name in block.names]
    for method in METHODS:
        bias, width = [], []
        for path, e in zip(paths, exact, strict=True):
            eta = load_arrays(out / path.name.replace("importance", method))[0]["eta"]
            eta = eta.reshape(-1, eta.shape[-1])
            bias.append((eta.mean(0) - e["mean"]) / e["sd"])
            width.append(eta.std(0) / e["sd"])
        bias, width = np.array(bias), np.array(width)
        print(
            f"\n{method}: |bias| median {np.median(np.abs(bias)):.3f}, 95 % {np.quantile(np.abs(bias), 0.95):.3f}, "
            f"greatest {np.abs(bias).max():.2f}; width, 5 to 95 % {np.quantile(width, 0.05):.3f} to "
            f"{np.quantile(width, 0.95):.3f}, least {width.min():.2f}, greatest {width.max():.2f}"
        )
        print(f"{'coordinate':12} mean bias  median width")
        for i, name in enumerate(names):
            print(f"{name:12} {bias[:, i].mean():9.3f} {np.median(width[:, i]):13.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--systems", type=int, default=50)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        if not any(given.out.glob("importance-*.safetensors")):
            parser.error(f"{given.out} holds no weighed systems; leave out --table first")
        table(given.out)
        return
    wanted = range(given.first, given.first + given.systems)
    both = [k for k in wanted if all((given.out / f"{method}-{k:03d}.safetensors").is_file() for method in METHODS)]
    if not both:
        parser.error(f"{given.out} holds no system by both methods; make them with joint_vs_oracle.py first")
    for k in both:
        run(k, given.out)


if __name__ == "__main__":
    main()
