"""How many directions of the source a real lens needs, and how wide its posterior is against the Fisher matrix.

python benchmarks/bent_posterior.py OUT [--example J0252+0039]

A cold start on a real image of the examples (kept in OUT; minutes), then two tables at the best mode:

- the log posterior with the leading informed directions, less that with all of the prior's, where the source's field is
  moved by whole pixels: chains move that way, and a difference that changes from move to move is a wrong target;
- the standard deviation of each normal coordinate by the Fisher matrix, and by gradients 1.5 of it to either side
  (`evidence.curved`).
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from blindlens import Observation
from blindlens.config import RunConfig
from blindlens.devices import prepare_jax
from blindlens.inference.evidence import Evidence, laplace, log_posterior
from blindlens.inference.pipeline import begin, prepared
from blindlens.prior import GaussianPrior, load_prior
from blindlens.progress import Progress

EXAMPLES = Path(__file__).parent.parent / "examples"
MOVES = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (2, 0), (0, 2))
RANKS = (64, 128, 192, 256, 384, 512)


@jax.default_matmul_precision("highest")
def main() -> None:
    parser = argparse.ArgumentParser(description="Directions that a real lens needs, and widths by the Fisher matrix.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--example", default="J0252+0039")
    arguments = parser.parse_args()
    prepare_jax()
    folder, progress = EXAMPLES / arguments.example, Progress(Console(stderr=True))
    files = (folder / f"{name}.fits" for name in ("image", "noise", "psf"))
    observation = Observation.from_fits(*files, pixel_scale=0.05)
    config = RunConfig(prior="galaxy-gaussian", initialise={"most_rank": max(RANKS)})
    config, lens, observation = prepared(config, None, observation, progress)
    prior = load_prior(config.prior)
    assert isinstance(prior, GaussianPrior)
    (_, full, problem, start) = begin(observation, prior, lens, config, arguments.out, progress).system
    mode = jax.tree.map(lambda leaf: leaf[0], start.modes)
    kept, everything = full.basis.shape[1], Evidence(problem, prior.basis, prior.mean)
    moved = [(move, problem.translated(mode.eta, *map(jnp.asarray, move))[0]) for move in MOVES]
    exact = np.array([float(log_posterior(everything, eta)) for _, eta in moved])
    print(f"{len(start.modes.eta)} modes, {problem.operator.shape} pixels; with all {prior.basis.shape[1]} directions:")
    print(exact.round(2))
    print(f"{'directions':>10}  less than with all, source moved by {MOVES} pixels; sd over these")
    for rank in sorted({min(rank, kept) for rank in RANKS}):
        few = Evidence(problem, full.basis[:, :rank], full.x0)
        less = np.array([float(log_posterior(few, eta)) for _, eta in moved]) - exact
        print(f"{rank:10d}  {np.array2string(less, precision=2, suppress_small=True)}  {less.std():.2f}")
    fisher = eqx.filter_jit(laplace)(full, mode.eta)
    print(f"{'coordinate':12}{'sd, Fisher':>12}{'sd, gradients':>15}{'ratio':>8}")
    narrow, wide = (np.linalg.norm(np.asarray(factor, float), axis=1) for factor in (fisher.factor, mode.factor))
    for name, a, b in zip(problem.space.names, narrow, wide, strict=True):
        print(f"{name:12}{a:12.4f}{b:15.4f}{b / a:8.1f}")


if __name__ == "__main__":
    main()
