"""Sources for a known lens: each guidance tuned on a few lenses and judged on others, as InverseBench does it.

python benchmarks/known_lens.py OUT [--prior mixture|galaxy64] [--lenses 100] [--tuning 8] [--draws 64] [--steps 200]
    [--method NAME ...]
python benchmarks/known_lens.py OUT --table

Systems are drawn from the prior that infers, images made by the operator that infers. Of each method the candidate of
the greatest PSNR, of one draw a lens, on `--tuning` lenses is taken (two rows are not tuned); then it draws `--draws`
sources for each of `--lenses` others. The same command goes on where it was stopped; other settings want another OUT.
The second form prints the table.

mixture: the mixture of Gaussians of tests/statistical/mixture.py, 12 x 12 pixels before 18 x 18, whose posterior given
the lens is known: row `exact`. galaxy64: the score prior in the package, 64 x 64 pixels in the set-up of
arXiv:2511.04792.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from blindlens.check.coverage import judge, place, smooth_p
from blindlens.check.summaries import source_summaries
from blindlens.config import GuidanceConfig, RunConfig, SourceConfig
from blindlens.coverage.places import summaries
from blindlens.devices import prepare_jax
from blindlens.guidance import Spectral
from blindlens.inference.pipeline import surrogate
from blindlens.inference.source import draw_sources, guide
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.lens.simulate import gaussian_psf
from blindlens.linear import LinearOperator, Scaled
from blindlens.prior import Denoiser, GaussianPrior, load_prior
from blindlens.sampler.schedule import Schedule
from blindlens.sampler.sde import CALLS
from blindlens.storage import write_text

COMPONENTS = 5
CONTROLS = {"0.65": 0.65, "1.5": 1.5}
"""Draws that much as wide about their mean, which the tests must reject."""
RULES = ("cla", "pigdm", "eq12-model", "eq12-physical")
CANDIDATES: dict[str, list[GuidanceConfig]] = {
    "cla": [GuidanceConfig(method="cla", variance=rule) for rule in RULES],
    "pigdm": [GuidanceConfig(method="pigdm", variance=rule) for rule in RULES],
    "dps": [GuidanceConfig(method="dps", zeta=zeta) for zeta in (None, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)],
    "mmps": [GuidanceConfig(method="mmps", cg_steps=steps, cg_tolerance=1e-4) for steps in (1, 3, 10, 30)],
}

FIXED = {
    "pigdm, r_t^2 as derived": GuidanceConfig(method="pigdm", variance="pigdm"),
    "mmps, 10 cg steps": GuidanceConfig(method="mmps", cg_steps=10, cg_tolerance=1e-4),
}
"""Not tuned: what PSNR does not choose."""


class Setting(NamedTuple):
    """Of all systems. fov, pixel_scale: arcsec. noise: in surface brightness."""

    prior: Denoiser
    gaussian: GaussianPrior
    lens: LensModel
    pixels: int
    pixel_scale: float
    fov: float
    psf: np.ndarray
    noise: float
    batch: int


class Case(NamedTuple):
    """One system: A whitened, in model units; its data less the pedestal, whitened; the source, model units; (x, y) of
    the field's centre, arcsec.
    """

    A: LinearOperator
    y: jax.Array
    x: jax.Array
    centre: np.ndarray


def setting(name: str) -> Setting:
    if name == "galaxy64":
        prior = load_prior(name)
        psf = gaussian_psf(0.375, 12 / 64)
        return Setting(prior, surrogate(prior, RunConfig()), LensModel(), 64, 12 / 64, 6.24, psf, 0.35, 8)
    tests = Path(__file__).resolve().parent.parent / "tests"
    sys.path += [str(tests), str(tests / "statistical")]
    from conftest import SMALL_RUN, SMALL_SYSTEMS
    from mixture import galaxies

    prior, small = galaxies(), SMALL_SYSTEMS
    psf = gaussian_psf(small["psf_fwhm"], small["pixel_scale"])
    lens = LensModel(**SMALL_RUN["lens"])
    of = (small["pixels"], small["pixel_scale"], small["source_fov"], psf, small["noise"], 64)
    return Setting(prior, prior.gaussian(), lens, *of)


def case(of: Setting, number: int) -> Case:
    lens_key, source_key, noise_key = jax.random.split(jax.random.fold_in(jax.random.key(2025), number), 3)
    operator = LensOperator(of.lens, (of.pixels, of.pixels), of.pixel_scale, of.prior.n, of.fov, of.psf)
    params = of.lens.space.sample(lens_key)
    A = Scaled(jnp.asarray(of.prior.scale / of.noise), operator(params))
    x = of.prior.sample(source_key)
    centre = np.array([float(params["xs"]), float(params["ys"])])
    return Case(A, A.mv(x) + jax.random.normal(noise_key, A.out_shape), x, centre)


def exact(of: Setting, case: Case, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of x given y under the mixture of Gaussians, (count, n, n)."""
    n2 = of.prior.n**2
    A, y = np.asarray(dense(case.A), np.float64), np.asarray(case.y, np.float64).ravel()
    log_weights, means, factors = [], [], []
    for part, log_weight in zip(of.prior.parts, of.prior.log_weights, strict=True):  # pyright: ignore
        B = np.asarray(part.basis, np.float64)
        E = B / np.linalg.norm(B, axis=0)
        S = B @ B.T + part.delta**2 * (np.eye(n2) - E @ E.T)
        mean, AS = np.asarray(part.mean, np.float64).ravel(), A @ S
        V, r = AS @ A.T + np.eye(len(y)), y - A @ mean
        factor = scipy.linalg.cho_factor(V, lower=True)
        log_det = 2 * np.sum(np.log(np.diag(factor[0])))
        log_weights.append(float(log_weight) - (r @ scipy.linalg.cho_solve(factor, r) + log_det) / 2)
        gain = scipy.linalg.cho_solve(factor, AS).T
        lam, v = np.linalg.eigh(S - gain @ AS)
        means.append(mean + gain @ r)
        factors.append(v * np.sqrt(np.maximum(lam, 0)))
    weights = np.exp(np.array(log_weights) - np.max(log_weights))
    which = rng.choice(len(weights), count, p=weights / weights.sum())
    noise = rng.normal(size=(count, n2))
    return np.stack([means[k] + factors[k] @ e for k, e in zip(which, noise, strict=True)]).reshape(-1, *case.x.shape)


def sampler(of: Setting, candidate: GuidanceConfig, steps: int) -> Callable[[Case, jax.Array], np.ndarray]:
    """case, keys -> draws (K, n, n)."""
    stage = SourceConfig(guidance=candidate, steps=steps, batch=of.batch)

    def draw(case: Case, keys: jax.Array) -> np.ndarray:
        solver = spectral(case.A) if candidate.method in ("cla", "pigdm") else None
        guided = guide(candidate, of.prior, case.A, case.y, Schedule(), solver)
        return np.asarray(draw_sources(keys, guided, of.prior, Schedule(), stage).x)

    return draw


@eqx.filter_jit
def dense(A: LinearOperator) -> jax.Array:
    return A.dense()


def spectral(A: LinearOperator) -> Spectral:
    """A decomposed, in double precision; of one rank for all lenses, so that one program serves them."""
    U, s, Vt = np.linalg.svd(np.asarray(dense(A), np.float64), full_matrices=False)
    return Spectral(*(jnp.asarray(t, jnp.float32) for t in (U, s, Vt.T)))


def calls(candidate: GuidanceConfig, steps: int) -> int:
    """Of the network in one draw as the algorithm needs them, at the most; a derivative counts as one more."""
    each = {"cla": 1, "pigdm": 2, "dps": 2, "mmps": 2 + candidate.most_steps}[candidate.method]
    return CALLS["heun"] * steps * each + 1


def figures(of: Setting, case: Case, draws: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Of one lens: PSNR in dB, its peak the true source's, relative errors, chi2 per pixel; with 16 draws or more,
    places of the truth among half of the draws. Nothing but the share that is finite, if not all of them are.
    """
    truth, draws = np.asarray(case.x, np.float64), draws.astype(np.float64)
    finite = float(np.mean(np.isfinite(draws).all((1, 2))))
    if finite < 1:
        return {"finite": finite}
    peak = of.prior.offset / of.prior.scale + truth.max()

    def psnr(x: np.ndarray) -> float:
        return float(10 * np.log10(peak**2 / np.mean((x - truth) ** 2)))

    size = np.linalg.norm(of.prior.offset / of.prior.scale + truth)
    mean = draws.mean(0)
    chi2 = [float(jnp.mean((case.y - case.A.mv(jnp.asarray(x, jnp.float32))) ** 2)) for x in draws[:8]]
    found: dict[str, Any] = {
        "finite": finite,
        "psnr": psnr(draws[0]),
        "psnr of the mean": psnr(mean),
        "error": float(np.linalg.norm(draws[0] - truth) / size),
        "error of the mean": float(np.linalg.norm(mean - truth) / size),
        "chi2": float(np.mean(chi2)),
    }
    if len(draws) < 16:
        return found

    def told(x: np.ndarray) -> np.ndarray:
        images = of.prior.scale * x + of.prior.offset
        basis = of.prior.scale * np.asarray(of.gaussian.basis[:, :COMPONENTS], np.float64)
        middle = of.gaussian.scale * np.asarray(of.gaussian.mean, np.float64) + of.gaussian.offset
        numbers = source_summaries(images, of.fov, np.tile(case.centre, (len(x), 1)), middle, basis)
        return np.stack([numbers[name] for name in summaries(COMPONENTS)], 1)

    half = len(draws) // 2
    (true,), aside, ranked = told(truth[None]), told(draws[:half]), told(draws[half:])
    for name, factor in {"": 1.0, **CONTROLS}.items():
        middle = told(draws).mean(0)
        there = place(true, middle + factor * (aside - middle), middle + factor * (ranked - middle), rng)
        found[f"tarp {name}".strip()] = there.tarp
        found[f"ranks {name}".strip()] = there.ranks.tolist()
    return found


def folder(out: Path, row: str) -> Path:
    return out / row.replace(" ", "_").replace(",", "").replace("^", "")


def lens_file(out: Path, row: str, number: int) -> Path:
    return folder(out, row) / f"lens{number:04d}.json"


def judged(
    out: Path,
    row: str,
    of: Setting,
    numbers: range,
    count: int,
    draw: Callable[[Case, jax.Array], np.ndarray],
    more: dict,
) -> list[dict]:
    """Figures of each lens, those of OUT not computed again."""
    found = []
    for number in numbers:
        path = lens_file(out, row, number)
        if not path.is_file():
            made = case(of, number)
            begun = time.perf_counter()
            draws = draw(made, jax.random.split(jax.random.fold_in(jax.random.key(1), number), count))
            seconds = (time.perf_counter() - begun) / count
            one = figures(of, made, draws, np.random.default_rng(number)) | {"seconds": seconds} | more
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(one))
        found.append(json.loads(path.read_text()))
    return found


def tuned(out: Path, method: str, of: Setting, given: argparse.Namespace) -> GuidanceConfig:
    """The candidate of the greatest mean PSNR; one with a draw that is not finite has none."""
    scores = []
    for k, candidate in enumerate(CANDIDATES[method]):
        draw = sampler(of, candidate, given.steps)
        each = judged(out, f"tuning-{method}-{k}", of, range(given.tuning), 1, draw, {})
        scores.append(float(np.mean([one.get("psnr", -np.inf) for one in each])))
        print(f"{method} {candidate.model_dump(exclude_defaults=True)}: PSNR {scores[-1]:.2f}", flush=True)
    return CANDIDATES[method][int(np.argmax(scores))]


def settled(given: argparse.Namespace) -> None:
    """Refuses an OUT whose lenses were judged with other settings."""
    settings = {name: getattr(given, name) for name in ("prior", "tuning", "draws", "steps")}
    path = given.out / "settings.json"
    if path.is_file() and (earlier := json.loads(path.read_text())) != settings:
        raise SystemExit(f"{given.out} holds a run with {earlier}; give another folder for {settings}")
    given.out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(settings))


COLUMNS = (
    "method",
    "tuned",
    "PSNR of a draw, of the mean",
    "relative L2 of a draw, of the mean",
    "chi2",
    "calls",
    "seconds a draw",
    "TARP p",
    "in the band",
    "least p of 9 ranks",
    "TARP p, 0.65 and 1.5 times as wide",
)


def table(out: Path) -> None:
    print("| " + " | ".join(COLUMNS) + " |\n" + "|" + "---|" * len(COLUMNS))
    if not (out / "settings.json").is_file():
        raise SystemExit(f"{out} holds no lenses yet; run this without --table first")
    for row in ("exact", *CANDIDATES, *FIXED):
        files = sorted(folder(out, row).glob("lens*.json"))
        every = [json.loads(file.read_text()) for file in files]
        each = [one for one in every if one["finite"] == 1]
        if not each:
            continue

        def mean(name: str, each: list[dict] = each) -> float:
            return float(np.mean([one[name] for one in each]))

        tarp, *controls = (judge(np.array([one[name] for one in each])) for name in ("tarp", "tarp 0.65", "tarp 1.5"))
        ranks = np.array([one["ranks"] for one in each]).T
        cells = [
            f"{row}, {len(each)} of {len(every)} lenses finite",
            each[0]["tuned"],
            f"{mean('psnr'):.2f}, {mean('psnr of the mean'):.2f}",
            f"{mean('error'):.3f}, {mean('error of the mean'):.3f}",
            f"{mean('chi2'):.3f}",
            str(each[0]["calls"]),
            f"{np.median([one['seconds'] for one in each]):.3f}",
            f"{tarp.p:.2g}",
            "yes" if tarp.inside else "no",
            f"{min(map(smooth_p, ranks)):.2g}",
            ", ".join(f"{control.p:.2g}" for control in controls),
        ]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--prior", choices=("mixture", "galaxy64"), default="mixture")
    parser.add_argument("--lenses", type=int, default=100)
    parser.add_argument("--tuning", type=int, default=8)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--method", action="append", choices=("exact", *CANDIDATES, *FIXED))
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        table(given.out)
        return
    if given.draws < 16:
        parser.error("--draws must be 16 or more: half of them are ranked")
    settled(given)
    prepare_jax()
    jax.config.update("jax_default_matmul_precision", "highest")  # as `infer` has it
    of = setting(given.prior)
    methods = given.method or [*(("exact",) if given.prior == "mixture" else ()), *CANDIDATES, *FIXED]
    numbers = range(given.tuning, given.tuning + given.lenses)
    for method in methods:
        if method == "exact":

            def known(made: Case, keys: jax.Array) -> np.ndarray:
                return exact(of, made, len(keys), np.random.default_rng(np.asarray(jax.random.key_data(keys[0]))))

            judged(given.out, method, of, numbers, given.draws, known, {"tuned": "", "calls": 0})
            continue
        best = FIXED[method] if method in FIXED else tuned(given.out, method, of, given)
        told = best.model_dump(exclude_defaults=True) | {"method": method}
        words = ", ".join(f"{key} {value}" for key, value in told.items() if key not in ("method", "cg_tolerance"))
        more = {"tuned": words, "calls": calls(best, given.steps)}
        judged(given.out, method, of, numbers, given.draws, sampler(of, best, given.steps), more)
    table(given.out)


if __name__ == "__main__":
    main()
