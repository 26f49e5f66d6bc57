"""Evidence with against without a dark subhalo on simulated systems that have one, or have none.

python benchmarks/subhalo_evidence.py OUT --systems 20 [--first 0] [--mass 10] [--draws 500]
python benchmarks/subhalo_evidence.py OUT --table

The first form runs the systems that OUT does not hold yet, from cold starts; the second writes table.md and
evidence.png.

Systems: even numbers have an NFW subhalo of that mass on the ring, at a random angle; odd ones have none. 40 x 40
pixels of 0.09" (Euclid's are 0.1"), Gaussian PSF of 0.16" FWHM, noise 0.25 in the unit of the sources; power law and
shear from their priors. Sources of 16 x 16 pixels of 0.1" drawn from the Gaussian prior that infers; in the last eight
of every twenty a procedural galaxy, which that prior does not know. Data with 8 x 8 rays per pixel.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from blindlens.config import RunConfig
from blindlens.inference.compare import LEVEL, compare, models
from blindlens.lens.simulate import System, simulate, simulation_key
from blindlens.prior import GaussianPrior, load_prior
from blindlens.prior.galaxies import galaxies
from blindlens.storage import atomic_write, write_text

N, PIXEL, SOURCE, FOV, FWHM, SIGMA = 40, 0.09, 16, 1.6, 0.16, 0.25
CONFIG = RunConfig(lens_light="none", contaminants="keep").replace(
    flux_scale=1.0,
    source_fov=FOV,
    trim=False,
    lens={
        "mass": ("epl", "shear"),
        "ranges": {
            "Rein": (0.8, 1.2),
            **{name: (-0.05, 0.05) for name in ("x0", "y0", "gamma_1", "gamma_2")},
            **{name: (-0.2, 0.2) for name in ("xs", "ys")},
            **{name: (-1.6, 1.6) for name in ("x_sub", "y_sub")},
        },
        "z_lens": 0.5,
        "z_source": 1.0,
    },
    # as many directions for all, so that no system compiles anew
    initialise={"draws": 300, "starts": 5, "steps": 60, "rank": 30, "keep": 3, "most_rank": 144, "tail": 1e-9},
    compare={"rounds": 4, "scan": 500, "starts": 3},
)


def system(k: int, mass: float, prior: GaussianPrior) -> tuple[System, bool, bool]:
    """System number k; whether it has a subhalo; whether its source is a procedural galaxy."""
    dark, foreign = k % 2 == 0, k % 20 >= 12
    small, large = models(CONFIG, ("nfw_subhalo",))
    key = jax.random.fold_in(simulation_key(2026), k)
    if foreign:
        source = galaxies(2026, k + 1)[k]
        source = source.reshape(SOURCE, source.shape[0] // SOURCE, SOURCE, -1).mean((1, 3))[None]
    else:
        x = prior.sample(jax.random.fold_in(key, 1), (1,))
        source = np.asarray(prior.scale * x + prior.offset)
    p = small.space.sample(jax.random.fold_in(key, 2))
    if dark:
        angle, off = jax.random.uniform(jax.random.fold_in(key, 3), (2,), minval=jnp.array([0.0, -0.1]),
                                        maxval=jnp.array([2 * jnp.pi, 0.1]))  # fmt: skip
        r = p["Rein"] + off
        p |= {"x_sub": p["x0"] + r * jnp.cos(angle), "y_sub": p["y0"] + r * jnp.sin(angle), "log_m200": mass + 0 * r}
    params = {name: jnp.asarray(value)[None] for name, value in p.items()}
    (made,) = simulate(key, source, large if dark else small, shape=(N, N), pixel_scale=PIXEL, fov=FOV,
                       psf_fwhm=FWHM, sigma=SIGMA, params=params)  # fmt: skip
    return made, dark, foreign


def run(k: int, mass: float, least: float, draws: int, out: Path) -> None:
    """One system: compare.json and what is true. least: lower end of the prior of log_m200 when it is inferred."""
    path = out / f"{k:03d}.json"
    if path.is_file():
        return
    prior = load_prior("galaxy-gaussian", SOURCE)
    assert isinstance(prior, GaussianPrior)
    made, dark, foreign = system(k, mass, prior)
    lens = CONFIG.lens.model_dump()
    lens["ranges"] |= {"log_m200": (least, 11.0)}
    config = CONFIG.replace(seed=k, lens=lens, compare={**dict(CONFIG.compare), "draws": draws})
    found = compare(made.observation, ("nfw_subhalo",), prior, config)
    truth = {"subhalo": dark, "procedural": foreign, "mass": mass, "least": least, "lens": made.truth,
             "peak": float(made.noiseless.max() / SIGMA)}  # fmt: skip
    write_text(path, json.dumps({"truth": truth, **found.summary()}, indent=2) + "\n")
    print(k, "subhalo" if dark else "none", f"peak S/N {truth['peak']:.0f}", found.words(), flush=True)


def table(out: Path) -> None:
    """table.md, a row a system, and evidence.png."""
    rows = [(int(path.stem), json.loads(path.read_text())) for path in sorted(out.glob("[0-9]*.json"))]
    heads = ("system", "source", "peak S/N", "true", "Delta log evidence", "log10 mass", "off by", "effective draws")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for k, row in rows:
        truth, found = row["truth"], row["parameters"]
        mass = f"{found['log_m200']['mean']:.2f} ± {found['log_m200']['sd']:.2f}"
        off = "-"
        if truth["subhalo"]:
            off = f'{np.hypot(*(found[n]["mean"] - truth["lens"][n] for n in ("x_sub", "y_sub"))):.2f}"'
        lines.append(
            f"| {k} | {'galaxy' if truth['procedural'] else 'prior'} | {truth['peak']:.0f} | "
            f"{format(truth['mass'], 'g') if truth['subhalo'] else 'none'} | {row['delta_log_evidence']:+.1f} ± "
            f"{row['error']:.1f} | {mass} | {off} | {row['without']['effective_draws']:.0f}, "
            f"{row['with']['effective_draws']:.0f} |"
        )
    gain = np.array([row["delta_log_evidence"] for _, row in rows])
    dark = np.array([row["truth"]["subhalo"] for _, row in rows])
    lines += ["", f"Sign right in {np.sum((gain > 0) == dark)} of {len(gain)}; called detected (above {LEVEL:g}) "
              f"{np.sum(gain[dark] > LEVEL)} of {dark.sum()} with a subhalo and {np.sum(gain[~dark] > LEVEL)} of "
              f"{(~dark).sum()} without; above 0, {np.sum(gain[~dark] > 0)} without."]  # fmt: skip
    write_text(out / "table.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    draw(rows, out / "evidence.png")


def draw(rows: list, path: Path) -> None:
    """Delta log evidence of every system."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.2), constrained_layout=True)
    for i, (_, row) in enumerate(sorted(rows, key=lambda r: (r[1]["truth"]["subhalo"], r[1]["delta_log_evidence"]))):
        truth = row["truth"]
        axes.errorbar(i, row["delta_log_evidence"], row["error"], fmt="s" if truth["procedural"] else "o",
                      color="C3" if truth["subhalo"] else "C0", ms=5)  # fmt: skip
    for colour, marker, label in (("C3", "o", "subhalo"), ("C0", "o", "none"), ("0.5", "s", "procedural galaxy")):
        axes.plot([], [], marker, color=colour, label=label)
    axes.axhline(0, color="k", lw=0.8)
    axes.axhline(LEVEL, color="k", lw=0.8, ls=":")
    axes.set(xlabel="systems, by evidence", ylabel=r"$\Delta\,\log$ evidence [nats]", yscale="symlog", xticks=[])
    axes.margins(y=0.15)
    axes.legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--mass", type=float, default=10.0)
    parser.add_argument("--least", type=float, default=8.0, help="lower end of the prior of log_m200")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.out)
        return
    for k in range(arguments.first, arguments.first + arguments.systems):
        run(k, arguments.mass, arguments.least, arguments.draws, arguments.out)


if __name__ == "__main__":
    main()
