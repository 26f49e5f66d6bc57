"""The default joint sampler against the exact posterior, from cold starts, on systems drawn from a Gaussian prior.

python benchmarks/joint_vs_oracle.py OUT --systems 20 [--first 0] [--method split_gibbs|renoise|evidence|conditional]
    [--size small --draws 512]
python benchmarks/joint_vs_oracle.py OUT --table [--size small]

The first form runs the systems that OUT does not hold yet (start several at once, of different --first, for several
cores); `evidence` is the oracle, `conditional` the control: the same sampler with the source held while the lens moves,
which is the lens update of arXiv:2511.04792 and of every plain Gibbs sampler. The second prints the comparison.

Systems: a 32 x 32 image and a 32 x 32 source drawn from `galaxy-gaussian`, at the pixel sizes (0.1875" and 0.0975")
and the PSF of arXiv:2511.04792; 12 lens parameters from the prior, Rein from 0.6 to 1.2 so that the ring fits; made
with 8 x 8 rays per pixel; noise 1.0 in the unit of s (peak S/N of 4 to 35). `--size small`: 18 x 18 pixels of 0.36", a
source of 12 x 12 in a field of 3", as in docs/coverage.md, for chains long enough to converge in many systems.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from blindlens.check.convergence import ess, r_hat
from blindlens.config import RunConfig
from blindlens.inference.evidence import Evidence
from blindlens.inference.pipeline import infer
from blindlens.inference.problem import build_problem
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import System, simulate
from blindlens.prior import GaussianPrior, load_prior
from blindlens.storage import load_arrays, save_arrays

N, SIGMA, FOV, PIXEL = 32, 1.0, 3.12, 12 / 64
LENS = LensModel(ranges={"Rein": (0.6, 1.2)})
METHODS = ("split_gibbs", "renoise", "evidence", "conditional")


class Size(NamedTuple):
    """Pixels a side of image and source; arcsec; the lens; directions of the source that follow it."""

    pixels: int
    source: int
    pixel_scale: float
    fov: float
    psf_fwhm: float
    lens: LensModel
    directions: int

    @property
    def prior(self) -> GaussianPrior:
        prior = load_prior("galaxy-gaussian", self.source)
        assert isinstance(prior, GaussianPrior)
        return prior


SIZES = {
    "paper": Size(N, N, PIXEL, FOV, 0.375, LENS, 192),
    "small": Size(
        18, 12, 0.36, 3.0, 0.36, LensModel(ranges={"Rein": (0.8, 1.5)} | {n: (-0.2, 0.2) for n in ("xs", "ys")}), 128
    ),
}


def system(k: int, size: Size) -> System:
    """System number k."""
    key, prior = jax.random.fold_in(jax.random.key(2025), k), size.prior
    x = prior.sample(jax.random.fold_in(key, 1), (1,))
    sources = np.asarray(prior.scale * x + prior.offset)
    grid = {"shape": (size.pixels, size.pixels), "pixel_scale": size.pixel_scale, "fov": size.fov}
    return simulate(key, sources, size.lens, **grid, psf_fwhm=size.psf_fwhm, sigma=SIGMA)[0]


def settings(size: Size) -> RunConfig:
    """What all methods and the exact evidence share: no lens light, brightness and field known, the whole image."""
    return RunConfig(lens_light="none", contaminants="keep").replace(flux_scale=1.0, source_fov=size.fov, trim=False)


def exact_evidence(made: System, size: Size) -> Evidence:
    """With as many of the prior's directions as single precision has use for."""
    prior = size.prior
    problem = build_problem(made.observation, prior, size.lens, settings(size), size.fov)
    return Evidence(problem, prior.basis[:, :512], prior.mean)


def run(k: int, method: str, out: Path, size: Size, draws: int) -> None:
    """One system by one method: normal coordinates, exact evidence of every draw, chi2, r_hat. draws: of a chain."""
    path = out / f"{method}-{k:03d}.safetensors"
    if path.is_file():
        return
    prior, lens = size.prior, size.lens
    made = system(k, size)
    config = settings(size).replace(method=method if method in ("evidence", "renoise") else "joint", seed=k)
    # as many directions for all: no system compiles anew, and what is left out is worth 0.4 nat; one for the control
    directions = 1 if method == "conditional" else size.directions
    # the oracle's draws are independent
    config = config.replace(
        initialise={"tail": 1e-9, "most_rank": directions}, draws=min(64, draws // 2) if method == "evidence" else draws
    )
    posterior = infer(made.observation, prior, lens, config)
    eta = lens.space.to_normal({name: jnp.asarray(posterior.lens[name].values) for name in lens.space.names})
    exact = exact_evidence(made, size)
    log_evidence = jax.jit(lambda e: jax.lax.map(exact.log_evidence, e))(eta.reshape(-1, eta.shape[-1]))
    stats = posterior.tree["sample_stats"].to_dataset()
    truth = lens.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    arrays = {
        "eta": eta,
        "log_evidence": log_evidence.reshape(eta.shape[:2]),
        "chi2": stats["chi2_per_pixel"].values,
        "truth": truth,
        "truth_log_evidence": exact.log_evidence(truth),
    }
    header = {"times": posterior.attrs["times"], "modes": posterior.attrs["modes"]}
    save_arrays(path, {name: np.asarray(value) for name, value in arrays.items()}, header)
    print(f"{path.name}: {header}", flush=True)


def table(out: Path, method: str, size: Size) -> dict[str, float]:
    """Print and return the comparison of one method with the oracle over the systems that both have finished."""
    names = [name for block in size.lens.space.blocks for name in block.names]
    width, bias, pit, worst, effective, chi2, exact_chi2, seconds, ks = [], [], [], [], [], [], [], [], []
    done = [path for path in sorted(out.glob(f"{method}-*")) if (out / path.name.replace(method, "evidence")).is_file()]
    for path in done:
        other = out / path.name.replace(method, "evidence")
        (a, header), (b, _) = load_arrays(path), load_arrays(other)
        flat = b["eta"].reshape(-1, b["eta"].shape[-1])
        ours = a["eta"].reshape(-1, flat.shape[1])
        width.append(ours.std(0) / flat.std(0))
        bias.append((ours.mean(0) - flat.mean(0)) / flat.std(0))
        worst.append(max(r_hat(a["eta"][..., i]) for i in range(flat.shape[1])))
        effective.append([ess(a["eta"][..., i]) for i in range(flat.shape[1])])
        thinned = a["log_evidence"][:, 7::8].ravel()
        pit.append((thinned[:, None] > b["log_evidence"].ravel()).mean(1))
        values = a["log_evidence"]
        independent = values.ravel()[:: int(np.ceil(values.size / ess(values)))]
        ks.append(scipy.stats.ks_2samp(independent, b["log_evidence"].ravel()).pvalue)
        chi2.append(a["chi2"].mean())
        exact_chi2.append(b["chi2"].mean())
        seconds.append(sum(header["times"].values()))
    peaks = [system(int(path.stem[-3:]), size).noiseless.max() / SIGMA for path in done]
    width, bias, pit = np.array(width), np.array(bias), np.array(pit)
    figures = {
        "systems": len(width),
        "least width ratio": np.median(width, 0).min(),
        "greatest width ratio": np.median(width, 0).max(),
        "greatest |mean bias|": np.abs(bias.mean(0)).max(),
        "its standard error": (bias.std(0) / np.sqrt(len(bias))).max(),
        "median |bias|": float(np.median(np.abs(bias))),
        "p that the evidence agrees": evidence_p(pit),
        "mean rank of the evidence": pit.mean(),
        "systems in which KS rejects it at 5 %": int(np.sum(np.array(ks) < 0.05)),
        "p that KS's p are uniform": scipy.stats.kstest(ks, "uniform").pvalue,
        "r_hat < 1.02": int(np.sum(np.array(worst) < 1.02)),
        "median peak S/N there": np.median(np.array(peaks)[np.array(worst) < 1.02]),
        "and elsewhere": np.median(np.array(peaks)[np.array(worst) >= 1.02]),
        "r_hat < 1.05": int(np.sum(np.array(worst) < 1.05)),
        "greatest r_hat": np.max(worst),
        "effective draws of the median coordinate": np.median(np.median(effective, 1)),
        "and of the worst": np.median(np.min(effective, 1)),
        "chi2/pixel": np.mean(chi2),
        "the oracle's": np.mean(exact_chi2),
        "seconds a system": np.mean(seconds),
        "least peak S/N": min(peaks),
        "greatest peak S/N": max(peaks),
    }
    print(f"\n{method}: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    print(f"{'coordinate':12} median width ratio  mean bias [sd]  median |bias| [sd]")
    for i, name in enumerate(names):
        column = np.median(width[:, i]), bias[:, i].mean(), np.median(np.abs(bias[:, i]))
        print(f"{name:12} {column[0]:18.3f} {column[1]:15.3f} {column[2]:19.3f}")
    return {name: float(value) for name, value in figures.items()}


def evidence_p(pit: np.ndarray) -> float:
    """p-value that the systems' mean ranks of the evidence average to 1/2: a t test, as draws of a system correlate."""
    return float(scipy.stats.ttest_1samp(pit.mean(1), 0.5).pvalue)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--size", choices=tuple(SIZES), default="paper")
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    if arguments.table:
        for method in ("split_gibbs", "renoise", "conditional"):
            if any(arguments.out.glob(f"{method}-*.safetensors")):
                table(arguments.out, method, size)
        return
    for k in range(arguments.first, arguments.first + arguments.systems):
        for method in arguments.method or METHODS:
            run(k, method, arguments.out, size, arguments.draws)


if __name__ == "__main__":
    main()
