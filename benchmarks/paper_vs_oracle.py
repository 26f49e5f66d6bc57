"""The sampler of arXiv:2511.04792 against the exact posterior, on systems drawn from a Gaussian prior.

python benchmarks/paper_vs_oracle.py OUT [--systems 20] [--first 0] [--draws 2]
python benchmarks/paper_vs_oracle.py OUT --table

The first form runs the systems that OUT does not hold yet; the second prints the comparison of docs/paper_method.md.

Systems: as in joint_vs_oracle.py, but with the noise of the paper (0.35) and made by the operator that infers (one ray
a pixel, bilinear source), so that nothing but the sampler can be wrong. The paper's settings: 400 Heun steps, PiGDM
by conjugate gradients, 500 Langevin steps of 1e-7 after each step from t = 0.7 to 0.2. Both readings of its Eq. 12,
from two kinds of start: draws of the exact posterior, and modes found by the cold start. The concluding Gibbs sweep is
left out.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import joint_vs_oracle
import numpy as np

from blindlens.config import GibbsDDRMConfig, GuidanceConfig, RunConfig
from blindlens.devices import prepare_jax
from blindlens.inference import oracle
from blindlens.inference.evidence import Evidence
from blindlens.inference.gibbsddrm import GibbsDDRM
from blindlens.inference.initialise import initialise
from blindlens.inference.problem import build_problem
from blindlens.inference.source import misfits
from blindlens.lens.simulate import System, simulate
from blindlens.prior import GaussianPrior, load_prior
from blindlens.progress import Progress
from blindlens.sampler.schedule import Schedule
from blindlens.storage import load_arrays, save_arrays

N, FOV, PIXEL, LENS = (getattr(joint_vs_oracle, name) for name in ("N", "FOV", "PIXEL", "LENS"))
SIGMA = 0.35
RULES = ("eq12-model", "eq12-physical")
STARTS = ("oracle", "cold")


def system(k: int, prior: GaussianPrior) -> System:
    """System number k."""
    key = jax.random.fold_in(jax.random.key(2511), k)
    x = prior.sample(jax.random.fold_in(key, 1), (1,))
    made_with = {"shape": (N, N), "pixel_scale": PIXEL, "fov": FOV, "sigma": SIGMA}
    sources = np.asarray(prior.scale * x + prior.offset)
    return simulate(key, sources, LENS, **made_with, supersampling=1, interpolation="bilinear")[0]


def run(k: int, out: Path, draws: int) -> None:
    """One system: the oracle's draws, and the paper's for each reading and start."""
    path = out / f"{k:03d}.safetensors"
    if path.is_file():
        return
    prior = load_prior("galaxy-gaussian", N)
    assert isinstance(prior, GaussianPrior)
    made = system(k, prior)
    config = RunConfig(lens_light="none", contaminants="keep").replace(
        flux_scale=1.0, source_fov=FOV, seed=k, trim=False, supersampling=1, interpolation="bilinear"
    )
    # as many directions for all: no system compiles anew
    config = config.replace(initialise={"tail": 1e-9, "most_rank": 192})
    start_key, oracle_key, pick_key, walk_key = jax.random.split(jax.random.key(k), 4)
    progress = Progress()
    start = initialise(start_key, made.observation, prior, LENS, config, progress)
    problem = build_problem(made.observation, prior, LENS, config, FOV)
    full = Evidence(problem, start.informed.basis, prior.mean)
    exact = oracle.sample(oracle_key, full, prior, start, 4, 32, config.evidence.moves, progress)
    flat = exact.eta.reshape(-1, exact.eta.shape[-1])
    best = Evidence(problem, prior.basis[:, :512], prior.mean)
    log_evidence = jax.jit(lambda e: jax.lax.map(best.log_evidence, e))
    arrays = {
        "oracle": flat,
        "oracle evidence": log_evidence(flat),
        "oracle chi2": exact.stats["chi2_per_pixel"],
        "truth": problem.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()}),
    }
    begins = {
        "oracle": jax.random.choice(pick_key, flat, (draws,), replace=False),
        "cold": start.modes.eta[np.arange(draws) % len(start.modes.eta)],
    }
    for rule in RULES:
        stage = GibbsDDRMConfig(guidance=GuidanceConfig(method="pigdm", variance=rule), end=False)
        method = GibbsDDRM(problem, prior, jnp.zeros((N * N, 0)), Schedule(), stage)
        for begin in STARTS:
            name = f"{rule} {begin}"
            # the same noise for all, so that they differ by what they are
            found = method.run(jax.random.split(walk_key, draws), begins[begin])
            arrays |= {
                f"{name} begin": begins[begin],
                f"{name} eta": found.eta,
                f"{name} evidence": log_evidence(found.eta),
                f"{name} chi2": misfits(problem, found.eta, found.x),
                f"{name} refused": found.refused,
                f"{name} residual": found.residual,
            }
    save_arrays(path, {name: np.asarray(value) for name, value in arrays.items()}, {"system": k, "draws": draws})
    print(f"{path.name}: done", flush=True)


def table(out: Path) -> list[dict[str, float | str]]:
    """Print and return a line a reading and start, over the systems in OUT, below one for the oracle's own draws."""
    systems = [load_arrays(path) for path in sorted(out.glob("*.safetensors"))]
    if not systems:
        raise SystemExit(f"{out} holds no results yet; run this without --table first")
    names = ["exact draws", *(f"{rule} {begin}" for rule in RULES for begin in STARTS)]
    lines = []
    for name in names:
        z, above, rank, chi2, refused = [], [], [], [], []
        for a, _ in systems:
            flat, reference = a["oracle"].astype(float), a["oracle evidence"].astype(float)
            ours = {"eta": flat[::64], "evidence": reference[::64], "chi2": a["oracle chi2"].ravel()}
            if name != "exact draws":
                ours = {key: a[f"{name} {key}"].astype(float) for key in ("eta", "evidence", "chi2", "refused")}
            finite = np.isfinite(ours["eta"]).all(1) & np.isfinite(ours["evidence"])
            sd = flat.std(0)
            z.append(np.sqrt(np.mean(((ours["eta"] - flat.mean(0)) / sd) ** 2, 1)))
            above.append(np.where(finite, ours["evidence"] - reference.mean(), -np.inf))
            rank.append((ours["evidence"][:, None] > reference).mean(1))
            chi2.append(ours["chi2"])
            refused.append(ours.get("refused", np.zeros(1)))
        above = np.concatenate(above)
        line = {
            "draws": name,
            "rms z, median": np.median(np.concatenate(z)),
            "rms z, worst": np.max(np.concatenate(z)),
            "log evidence, median": np.median(above),
            "log evidence, worst": np.min(above),
            "rank of it": np.mean(np.concatenate(rank)),
            "chi2/pixel, median": np.median(np.concatenate(chi2)),
            "refused": np.mean(np.concatenate(refused)),
        }
        lines.append(line)
    print(f"{len(systems)} systems")
    print("| " + " | ".join(lines[0]) + " |\n" + "|---" * len(lines[0]) + "|")
    for line in lines:
        print("| " + " | ".join(f"{v:.3g}" if not isinstance(v, str) else v for v in line.values()) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.out)
        return
    prepare_jax()
    jax.config.update("jax_default_matmul_precision", "highest")  # as `infer` has it
    for k in range(arguments.first, arguments.first + arguments.systems):
        run(k, arguments.out, arguments.draws)


if __name__ == "__main__":
    main()
