"""Ripple of the exact evidence at the period of a source pixel, by rays and source grid: docs/ripple.md.

python benchmarks/ripple.py [--rays 2 4] [--systems 0 1 ...] [--interpolation bilinear] [--alone] [--hole 0.5] [...]

Set-up of arXiv:2511.04792: npix x npix image of 12", as many source pixels on 6.24", PSF of 0.375", white noise of
0.35. Data: 8 x 8 rays per pixel, from a source painted on a `--paint` times finer grid. Scanned are, through
the maximum of the evidence next to the truth,

- ridges: one normal coordinate moves by +-5 marginal sd and the others follow by regression, as a sampler goes; only as
  far as the evidence stays within 12.5 nats (5 sd of a Gaussian), for real ridges are curved;
- xs and ys alone by +-2 source pixels of npix, four periods (fewer if the prior is narrower, elsewhere if it ends).

Ripple: largest departure from the least-squares polynomial of sixth degree, which cannot follow four periods. Barrier:
how far the evidence must fall between two maxima, counted from the lower one; a broad valley counts too. Period: half
the peak-to-peak of what repeats with one source pixel (and half of one), fitted beside that polynomial.
"""

import argparse
import time
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from blindlens.inference.evidence import Evidence, climb
from blindlens.inference.problem import Problem
from blindlens.lens.interpolation import INTERPOLATIONS
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.lens.simulate import System, simulate
from blindlens.prior import GaussianPrior, load_prior
from blindlens.prior.galaxies import GalaxyRecipe, galaxies

FOV, FIELD, NOISE, DATA_RAYS = 6.24, 12.0, 0.35, 8
POOL, SEED = 200, 5  # galaxies to choose from
POINTS, POINTS_ALONE = 41, 49
DROP, DEGREE = 12.5, 6
REACH = 0.35  # arcsec: the prior of xs and ys
MODES, RANK = 1700, 704  # of the prior, and directions of these that the data inform most
LABELS = ("x0", "y0", "q cos", "q sin", "Rein", "t", "gamma_1", "gamma_2", "a_3 cos", "a_3 sin", "xs", "ys")


class Line(NamedTuple):
    """offsets: positions in sd or source pixels; values: log evidence; crossed: source pixels from end to end."""

    name: str
    offsets: np.ndarray
    values: np.ndarray
    crossed: float
    ripple: float
    barrier: float


def chosen() -> list[tuple[str, int]]:
    """Of POOL procedural galaxies: the 4 with most knots, the sharpest of all, and the first again for added knots.

    Knots: largest share of power above half of 64 pixels' Nyquist without the nucleus (6 pixels about the peak).
    Sharpest: most power above half of the Nyquist, nucleus included.
    """
    pool = galaxies(SEED, POOL)
    grid, k = np.arange(64), np.fft.fftfreq(64, 1 / 64)
    rough = np.fft.ifft2(np.fft.fft2(pool) * (np.hypot(k[:, None], k) >= 16)).real ** 2
    peak = pool.reshape(POOL, -1).argmax(1)
    outside = np.hypot(grid[:, None] - (peak // 64)[:, None, None], grid - (peak % 64)[:, None, None]) > 6
    knotty = np.argsort(-(rough * outside).sum((1, 2)) / (pool**2).sum((1, 2)))[:4]
    return [("knotty", int(i)) for i in knotty] + [
        ("bright", int(rough.sum((1, 2)).argmax())),
        ("added", int(knotty[0])),
    ]


def source(kind: str, number: int, npix: int, paint: int) -> np.ndarray:
    """The galaxy as sharp as on npix pixels (PSF of 0.9 of these), painted on npix * paint a side.

    "added": with 6 more Gaussians of 1 pixel (of npix) sd, half its peak high.
    """
    n = npix * paint
    image = galaxies(SEED, 1, n, GalaxyRecipe(psf_fwhm=0.9 * paint), first=number)[0]
    if kind == "added":
        axis = (np.arange(n) - (n - 1) / 2) / paint
        places = np.random.default_rng(SEED).normal(0, 0.1 * npix, (6, 2))
        spots = [np.exp(-((axis[:, None] - y) ** 2 + (axis - x) ** 2) / 2) for x, y in places]
        image = image + 0.5 * image.max() * np.sum(spots, 0)
    return image


def make(index: int, npix: int, paint: int = 4) -> tuple[str, System]:
    """System number `index`: one of the chosen sources, its own lens from the prior, its own noise."""
    kind, number = chosen()[index]
    image = source(kind, number, npix, paint)
    key = jax.random.fold_in(jax.random.key(SEED), index)
    (system,) = simulate(
        key, image[None], LensModel(), shape=(npix, npix), pixel_scale=FIELD / npix, fov=FOV, sigma=NOISE,
        supersampling=DATA_RAYS,
    )  # fmt: skip
    return f"{kind} {number}, peak {image.max():.0f}", system


def build(
    system: System,
    prior: GaussianPrior,
    rays: int,
    rank: int = RANK,
    interpolation: str = "cubic",
    hole: float = 0.0,
    core: int | None = None,
) -> tuple[Evidence, jax.Array, float]:
    """The evidence with that many rays, eta of the truth, and the information (nats) in the directions left out.

    hole: pixels within so many arcsec of the lens's centre are left out.
    """
    lens, seen = LensModel(), system.observation
    operator = LensOperator(
        lens, seen.shape, seen.pixel_scale, prior.n, FOV, seen.psf, supersampling=rays, interpolation=interpolation,
        core=core,
    )  # fmt: skip
    rows, cols = (seen.pixel_scale * (np.arange(k) - (k - 1) / 2) for k in seen.shape)
    distance = np.hypot(rows[:, None] - system.truth["y0"], cols - system.truth["x0"])
    y, weight = jnp.asarray(seen.image, jnp.float32), jnp.asarray((distance >= hole) / seen.noise, jnp.float32)
    problem = Problem(operator, y, weight, lens.space, None, prior.scale, prior.offset)
    truth = lens.space.to_normal({name: jnp.asarray(v) for name, v in system.truth.items()})
    modes = prior.basis[:, :MODES]
    rank = min(rank, modes.shape[1])
    gram = eqx.filter_jit(lambda p, e, basis, mean: (lambda H: H.T @ H)(p.system(e, basis, mean)[1]))
    worth, turn = scipy.linalg.eigh(np.asarray(gram(problem, truth, modes, prior.mean)), driver="evd")
    lost = 0.5 * np.log1p(np.maximum(worth[:-rank], 0)).sum() if rank < len(worth) else 0.0
    return Evidence(problem, modes @ jnp.asarray(turn[:, -rank:]), prior.mean), truth, float(lost)


def ripple(offsets: np.ndarray, values: np.ndarray) -> float:
    """Largest departure from the least-squares polynomial, nats."""
    curve = np.polynomial.Chebyshev.fit(offsets, values, DEGREE)(offsets)
    return float(np.abs(values - curve).max())


def period(offsets: np.ndarray, values: np.ndarray) -> float:
    """Half the peak-to-peak of the part with period 1 and 1/2 in a fit of polynomial and waves, nats."""
    wave = 2 * np.pi * offsets
    waves = np.stack([np.cos(wave), np.sin(wave), np.cos(2 * wave), np.sin(2 * wave)], 1)
    smooth = np.polynomial.chebyshev.chebvander(offsets / np.abs(offsets).max(), DEGREE)
    fit = np.linalg.lstsq(np.hstack([smooth, waves]), values, rcond=None)[0]
    return float(np.ptp(waves @ fit[DEGREE + 1 :]) / 2)


def barrier(values: np.ndarray) -> float:
    """The deepest valley, nats below the lower of the highest points on its two sides."""
    left, right = np.maximum.accumulate(values), np.maximum.accumulate(values[::-1])[::-1]
    return float(np.max(np.minimum(left, right) - values))


def double(a):
    """An array of floats in double precision."""
    if not eqx.is_inexact_array(a):
        return a
    return jnp.asarray(np.asarray(a), jnp.complex128 if jnp.iscomplexobj(a) else jnp.float64)


@eqx.filter_jit
def maximum(evidence: Evidence, eta: jax.Array):
    return climb(evidence, eta, 15)


@eqx.filter_jit
def along(evidence: Evidence, eta: jax.Array, step: jax.Array, offsets: jax.Array) -> jax.Array:
    return jax.lax.map(lambda t: evidence.log_evidence(eta + t * step), offsets)


@eqx.filter_jit
def travel(evidence: Evidence, eta: jax.Array, step: jax.Array) -> jax.Array:
    """Source pixels (rms over rays inside the field) by which rays move for one unit of the offset."""

    def position(eta):
        lensed = evidence.problem.operator(evidence.problem.params(eta))
        return jnp.stack([lensed.rays[0].x, lensed.rays[0].y])

    n = evidence.problem.operator.n
    at, move = jax.jvp(position, (eta,), (step,))
    inside = jnp.all(jnp.abs(at - (n - 1) / 2) < n / 2, 0)
    return jnp.sqrt(jnp.sum(jnp.sum(move**2, 0) * inside) / jnp.sum(inside))


def ridge(evidence: Evidence, eta: jax.Array, step: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and log evidence on the part of +-5 steps that is joined to the maximum within DROP nats."""
    low, high = -5.0, 5.0
    for _ in range(3):
        offsets = np.linspace(low, high, POINTS)
        values = np.asarray(along(evidence, eta, step, jnp.asarray(offsets, eta.dtype)), float)
        centre = int(np.argmin(np.abs(offsets)))
        outside = np.flatnonzero(values < values.max() - DROP)
        first = max([i for i in outside if i < centre], default=-1) + 1
        last = min([i for i in outside if i > centre], default=POINTS) - 1
        if last - first >= 2 * DEGREE:
            break
        low, high = offsets[max(first - 1, 0)], offsets[min(last + 1, POINTS - 1)]
    return offsets[first : last + 1], values[first : last + 1]


def shifts(evidence: Evidence, eta: jax.Array, name: str, pixel: float) -> tuple[np.ndarray, jax.Array]:
    """Four source pixels (or what the prior allows) about xs or ys, as pixels and as steps of its normal coordinate."""
    space, i = evidence.problem.space, LABELS.index(name)
    half = min(2 * pixel, 0.98 * REACH)
    centre = float(np.clip(space.from_normal(eta)[name], half - 0.98 * REACH, 0.98 * REACH - half))
    offsets = np.linspace(-half, half, POINTS_ALONE)
    params = space.from_normal(jnp.broadcast_to(eta, (POINTS_ALONE, eta.size)))
    steps = space.to_normal(params | {name: jnp.asarray(centre + offsets, eta.dtype)})[:, i] - eta[i]
    return offsets / pixel, steps


def lines(evidence: Evidence, truth: jax.Array, alone: bool) -> tuple[list[Line], float]:
    """The scanned lines, and how much higher the maximum is than the truth (6 nats expected for 12 parameters)."""
    mode = maximum(evidence, truth)
    gain = float(evidence.log_evidence(mode.eta) - evidence.log_evidence(truth))
    covariance = mode.factor @ mode.factor.T
    sd = jnp.sqrt(jnp.diagonal(covariance))
    operator = evidence.problem.operator
    side = operator.shape[0]  # source pixels are counted as npix on the field, whatever grid it has
    out = []

    def add(name, offsets, values, crossed):
        out.append(Line(name, offsets, values, crossed, ripple(offsets, values), barrier(values)))

    for i, name in () if alone else enumerate(LABELS):
        step = covariance[i] / sd[i]
        offsets, values = ridge(evidence, mode.eta, step)
        pixels = float(travel(evidence, mode.eta, step)) * side / operator.n
        add(name, offsets, values, pixels * (offsets[-1] - offsets[0]))
    for name in ("xs", "ys"):
        offsets, steps = shifts(evidence, mode.eta, name, FOV / side)
        unit = jnp.eye(len(LABELS), dtype=mode.eta.dtype)[LABELS.index(name)]
        values = np.asarray(along(evidence, mode.eta, unit, steps), float)
        add(f"{name} alone", offsets, values, offsets[-1] - offsets[0])
    return out, gain


def cost(evidence: Evidence, eta: jax.Array, repeats: int = 3) -> float:
    """Seconds of the evidence with its gradient, best of the repeats."""
    f = eqx.filter_jit(lambda e, x: jax.value_and_grad(e.log_evidence)(x))
    jax.block_until_ready(f(evidence, eta))
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f(evidence, eta))
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rays", type=int, nargs="+", default=[1, 2, 3, 4], help="rays per pixel and side")
    parser.add_argument("--systems", type=int, nargs="+", default=list(range(6)))
    parser.add_argument("--npix", type=int, default=64, help="of image and source, a side")
    parser.add_argument("--source", type=int, help="source pixels a side, by default npix")
    parser.add_argument("--paint", type=int, default=4, help="pixels of the true source per npix and side")
    parser.add_argument("--interpolation", choices=INTERPOLATIONS, default="cubic", help="of the source")
    parser.add_argument("--hole", type=float, default=0.0, help="arcsec about the lens's centre to leave out")
    parser.add_argument("--core", type=int, help="rays per pixel and side next to the lens's centre")
    parser.add_argument("--x64", action="store_true", help="double precision")
    parser.add_argument("--alone", action="store_true", help="scan xs and ys alone only")
    parser.add_argument("--dump", help="write the scans to this npz file")
    arguments = parser.parse_args()
    made = {i: make(i, arguments.npix, arguments.paint) for i in arguments.systems}
    prior = load_prior("galaxy-gaussian", arguments.source or arguments.npix)
    kept = {}
    columns = [
        "system",
        "rays",
        "maximum over truth",
        "worst ripple of a ridge (pixels crossed)",
        "worst barrier of a ridge",
    ]
    columns += ["ripple along xs, ys", "period along xs, ys", "barrier along xs, ys", "evidence and gradient, s"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for index, (name, system) in made.items():
        for rays in arguments.rays:
            evidence, truth, lost = build(
                system, prior, rays, interpolation=arguments.interpolation, hole=arguments.hole, core=arguments.core
            )
            with jax.enable_x64(arguments.x64):
                if arguments.x64:
                    evidence, truth = jax.tree.map(double, (evidence, truth))
                scans, gain = lines(evidence, truth, arguments.alone)
                seconds = cost(evidence, truth)
            cells = [f"{index} {name}", rays, f"{gain:.1f}", "-", "-"]
            if not arguments.alone:
                worst = max(scans[:-2], key=lambda line: line.ripple)
                cells[3] = f"{worst.ripple:.2f} {worst.name} ({worst.crossed:.1f})"
                cells[4] = f"{max(line.barrier for line in scans[:-2]):.2f}"
            ends = [(line.ripple, period(line.offsets, line.values), line.barrier) for line in scans[-2:]]
            cells += [f"{a:.2f}, {b:.2f}" for a, b in zip(*ends, strict=True)]
            print("| " + " | ".join(map(str, [*cells, f"{seconds:.2f}"])) + f" | (cut: {lost:.1f} nat)", flush=True)
            for line in scans:
                kept[f"{index}/{rays}/{line.name}"] = np.stack([line.offsets, line.values])
            if arguments.dump:
                np.savez(arguments.dump, **kept)


if __name__ == "__main__":
    main()
