"""What the moves of `renoise` do at noise levels of `source_complex`: what bounds flights, and what tells them apart.

python benchmarks/flights.py [--sweeps 12]

After as many sweeps of two chains from a cold start with `galaxy64` (2 x 2 rays, the other settings the default), at
noise of 2, 0.5 and 0.1 on their sources:

- log acceptance ratio of flights of 6 steps of lens and source, by the angle of a step: as the sampler's, and where the
  mean of the source may move along the columns of C alone;
- least and greatest of the lens's precision with the noisy source integrated out over that given it, in the space of
  the latter (1: the noisy source tells nothing of the lens);
- chi2 per pixel of the mean source by the number of directions that C is looked at in;
- the line integral of the longest growth by its number of nodes.

Then, at each of the sampler's levels, the least and the greatest eigenvalue of each chain's last metric in the space of
the mean one, which was taken in coordinates u (as the sampler does) or in eta.
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console

from blindlens import Observation, load_prior
from blindlens.config import RunConfig
from blindlens.devices import prepare_jax
from blindlens.guidance import local_gaussian, moment_matching
from blindlens.inference import pipeline
from blindlens.inference.evidence import Evidence, climb
from blindlens.inference.gauge import MOST, growth, log_change
from blindlens.inference.parallel import taken
from blindlens.inference.problem import Problem
from blindlens.inference.renoise import Chain, Renoise, precision_at
from blindlens.inference.renoise_run import Group, swept
from blindlens.progress import Progress
from blindlens.sampler import flight
from blindlens.sampler.flight import Place, White

EXAMPLE = Path(__file__).parent.parent / "examples" / "source_complex"
SIGMAS, ANGLES, STEPS = (2.0, 0.5, 0.1), (0.05, 0.1, 0.2), 6
KINDS = ("D", "within C")


@eqx.filter_jit
def ratios(sampler: Renoise, chain: Chain, x_t: Array, sigma: Array, angle: Array, keys: Array, kind: str) -> Array:
    """Log acceptance ratios of flights, one a key."""
    problem, prior = sampler.problem, sampler.prior
    local = local_gaussian(
        prior, x_t, sigma, sampler.probes, sampler.measurement(chain.eta, chain.a), sampler.stage.krylov
    )
    model = Evidence(problem, local.directions * local.sd(sigma), local.mean)
    found = climb(model, chain.eta, 0)
    precision = jnp.linalg.inv(found.factor @ found.factor.T)
    white = White(jnp.linalg.cholesky(precision), jnp.zeros((x_t.size, 0)), sigma)

    def mean(x_t: Array) -> Array:
        D, E = prior(x_t, sigma), local.directions
        return D if kind != "within C" else local.mean + (E @ (E.T @ (D - local.mean).ravel())).reshape(D.shape)

    def f(w: Array) -> Array:
        eta, x_t = white.at(w)
        return Evidence(problem, model.basis, mean(x_t)).log_posterior(eta)

    def forces(w: Array) -> flight.Forces:
        eta, x_t = white.at(w)
        slopes = sampler.slopes(local, mean, eta, x_t)
        return slopes._replace(score=(prior(x_t, sigma) - x_t) / sigma**2).forces(white)

    place = Place(white.of(chain.eta, x_t), model.log_posterior(chain.eta))
    return jax.lax.map(lambda key: flight.fly(key, place, f, forces, angle, STEPS)[1].log_ratio, keys)


@eqx.filter_jit
def seen(sampler: Renoise, chain: Chain, x_t: Array, sigma: Array, krylov: int) -> tuple[Array, ...]:
    """chi2 per pixel of E[x | x_t, l, y]; derivatives of the mean image in the lens, and in x_t/sigma along the columns
    of C, times V^-1/2; what the prior adds to the precision along these.
    """
    problem, here = sampler.problem, sampler.measurement(chain.eta, chain.a)
    local = local_gaussian(sampler.prior, x_t, sigma, sampler.probes, here, krylov)
    guided = moment_matching(sampler.prior, local, here)
    _, along, left = guided.fitted(x_t, sigma)
    x = local.mean + (local.directions @ along).reshape(x_t.shape)
    residual = lambda eta: problem.residual(eta, x, chain.a).ravel()  # noqa: E731
    J = jax.lax.map(lambda t: jax.jvp(residual, (chain.eta,), (t,))[1], jnp.eye(chain.eta.size)).T
    F = jnp.concatenate([J, -guided.AE * (sigma * local.share)], 1)
    H = guided.AE * local.sd(sigma)
    P = H.T @ H + jnp.eye(H.shape[1])
    return jnp.sum(left**2) / jnp.sum(problem.weight > 0), F, H, P, 1 - local.share


def relative(of: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Eigenvalues of a matrix in the space in which another is I."""
    inverse = np.linalg.inv(np.linalg.cholesky(to))
    return np.linalg.eigvalsh(inverse @ of @ inverse.T)


def integrated(parts: tuple[Array, ...], d: int) -> np.ndarray:
    """The lens's precision with x_t integrated out over that given it: eigenvalues."""
    F, H, P, prior = (np.asarray(part, float) for part in parts)
    full = F.T @ F - (H.T @ F).T @ np.linalg.solve(P, H.T @ F)
    full[:d, :d] += np.eye(d)
    full[d:, d:] += np.diag(np.maximum(prior, 1e-3))
    given = full[:d, :d]
    return relative(given - full[:d, d:] @ np.linalg.solve(full[d:, d:], full[d:, :d]), given)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=12)
    arguments = parser.parse_args()
    prepare_jax()
    jax.config.update("jax_default_matmul_precision", "highest")
    observation = Observation.from_fits(
        EXAMPLE / "data.fits", noise=EXAMPLE / "noise_map.fits", psf=EXAMPLE / "psf.fits"
    )
    progress = Progress(Console(stderr=True))
    config = RunConfig().replace(prior="galaxy64", supersampling=2, chains=2)
    config, lens, observation = pipeline.prepared(config, None, observation, progress)
    begun = pipeline.begin(observation, load_prior("galaxy64"), lens, config, None, progress)
    stage, group = config.renoise, Group.of([begun.system], config.chains, config.renoise)
    many = Renoise(group.problem, begun.prior, group.probes, group.modes, stage)
    run = group.begun(stage)
    seen_by = []
    for b in range(arguments.sweeps):
        run, info = swept(many, group, b, run)
        if b < stage.warmup and 4 * b >= stage.warmup:
            seen_by.append((run.reference, np.asarray(info.metric)))
    problem, probes, modes = taken((group.problem, group.probes, group.modes), jnp.asarray(0))
    wide = jnp.asarray(np.linalg.qr(np.asarray(begun.system.start.informed.basis, float))[0], jnp.float32)

    for c in range(config.chains):
        chain = jax.tree.map(lambda leaf, c=c: jnp.asarray(leaf[c]), run.chains)
        for s in SIGMAS:
            sigma = jnp.asarray(s, jnp.float32)
            x_t = chain.x + sigma * jax.random.normal(jax.random.key(5), chain.x.shape)
            sampler = Renoise(problem, begun.prior, probes, modes, stage)
            print(f"\nchain {c}, noise {s}")
            keys = jax.random.split(jax.random.key(1), 4)
            for kind in KINDS:
                for angle in ANGLES:
                    found = np.asarray(ratios(sampler, chain, x_t, sigma, jnp.float32(angle), keys, kind))
                    print(f"  {kind:9} angle {angle:4.2f}: " + "".join(f"{r:14.2f}" for r in found), flush=True)
            chi2, *parts = seen(sampler, chain, x_t, sigma, stage.krylov)
            ratio = integrated(tuple(parts), chain.eta.size)
            print(f"  precision of the lens, x_t integrated out over given: {np.round(ratio, 3)}")
            for k, krylov in ((64, 24), (probes.shape[1], stage.krylov), (192, 192)):
                chi2 = seen(Renoise(problem, begun.prior, wide[:, :k], modes, stage), chain, x_t, sigma, krylov)[0]
                print(f"  chi2/pixel of the mean source, {k} + {krylov} directions: {float(chi2):.4f}")
            for by in (MOST / 2, MOST):
                along = growth(x_t, jnp.asarray(by), problem.sky)
                values = [float(log_change(begun.prior, along, sigma, n)) for n in (8, 16, 32, 64)]
                print(
                    f"  growth by {by:.2f}, 8, 16, 32, 64 nodes: " + ", ".join(f"{v:.2f}" for v in values), flush=True
                )

    pooled(problem, seen_by[len(seen_by) // 2 :])


def pooled(problem: Problem, seen_by: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """What metrics of sweeps have in common: by sweep, the lenses of the chains, (K, d), and their metrics."""
    rates = [[np.asarray(problem.space.rates(jnp.asarray(eta)), float) for eta in etas] for etas, _ in seen_by]
    for level in range(seen_by[0][1].shape[1]):
        u = [of[:, level] for _, of in seen_by]
        eta = [[precision_at(m, r) for m, r in zip(ms, rs, strict=True)] for ms, rs in zip(u, rates, strict=True)]
        mean_u, mean_eta = np.mean(u, (0, 1)), np.mean(eta, (0, 1))
        print(f"level {level}")
        for c, (own, r) in enumerate(zip(eta[-1], rates[-1], strict=True)):
            ends = (relative(np.asarray(own), mean)[[0, -1]].round(2) for mean in (precision_at(mean_u, r), mean_eta))
            print("  chain {}: eigenvalues in the space of the mean in u {}, of that in eta {}".format(c, *ends))


if __name__ == "__main__":
    main()
