"""Do chains stay with the truth when they begin there? One system of `coverage --config galaxy64`.

python benchmarks/from_the_truth.py NUMBER [--sweeps 32] [--chains 2] [--latent '{sigma: 0.1}']

Lens and source are drawn from the prior that infers, so that the truth is a draw of the posterior: over many systems
the draws that follow must scatter round it by their own width. Printed: chi2 of the truth; how far the lens's mode is
above the true lens for the true source (half the number of lens parameters is expected); the chains' mean less the
truth, in units of the draws' standard deviation after the first quarter; and the denoiser's squared error and log p_s
of the draws beside the true source's, with the same noise. A quarter of an hour on one core.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import yaml
from jax import Array

from blindlens.config import CoverageConfig, LatentConfig
from blindlens.coverage.places import coordinates, normal
from blindlens.coverage.systems import setting, system
from blindlens.devices import prepare_jax
from blindlens.inference.evidence import Evidence, climb, informed
from blindlens.inference.latent import Latent, Point, factored
from blindlens.inference.parallel import stacked
from blindlens.inference.pipeline import surrogate
from blindlens.inference.problem import Problem, build_problem
from blindlens.inference.renoise_run import steered
from blindlens.inference.scales import image_scales
from blindlens.prior import Denoiser

ADAPT = 6
"""Sweeps that adapt coordinates and angle."""

MOST_RANK = 128


@eqx.filter_jit
def above(problem: Problem, eta: Array, x: Array) -> tuple[Array, Array]:
    """Nats by which the lens's mode is above eta, and its distance in Laplace widths, given x."""
    model = Evidence(problem, jnp.zeros((x.size, 1)), x)
    mode = climb(model, eta, 10)
    away = jax.scipy.linalg.solve_triangular(mode.factor, eta - mode.eta, lower=True)
    return mode.log_posterior - model.log_posterior(eta), jnp.linalg.norm(away)


@eqx.filter_jit
def beside(prior: Denoiser, truth: Array, x: Array, sigma: Array, key: Array) -> Array:
    """Squared error of the denoiser over sigma^2 on x and on the truth, log p_s(x) - log p_s(truth)."""
    noise = sigma * jax.random.normal(key, x.shape)
    u, w = np.polynomial.legendre.leggauss(32)

    def slope(u: Array) -> Array:
        x_t = truth + u * (x - truth) + noise
        return jnp.sum((prior(x_t, sigma) - x_t) * (x - truth)) / sigma**2

    gain = jnp.sum(jnp.asarray(w / 2, x.dtype) * jax.lax.map(slope, jnp.asarray((u + 1) / 2, x.dtype)))
    errors = [jnp.sum((prior(image + noise, sigma) - image) ** 2) / sigma**2 for image in (x, truth)]
    return jnp.stack([*errors, gain])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("number", type=int)
    parser.add_argument("--sweeps", type=int, default=32)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--latent", type=yaml.safe_load, default={})
    given = parser.parse_args()
    prepare_jax()
    study = setting(CoverageConfig.load("galaxy64"))
    made, run, prior = system(study, given.number), study.run(given.number), study.prior
    stage = LatentConfig.from_mapping(given.latent, "--latent")
    gaussian, fov = surrogate(prior, run), study.config.systems.source_fov
    problem = build_problem(made.observation, prior, study.lens, run, fov, image_scales(made.observation, run))
    truth = jnp.asarray(normal(study.lens.space, made.truth), jnp.float32)
    x = jnp.asarray((made.source - prior.offset) / prior.scale, jnp.float32)
    seen = informed(Evidence(problem, gaussian.basis, gaussian.mean), truth[None], 1e-9, MOST_RANK)
    probes = jnp.asarray(np.linalg.qr(np.asarray(seen.basis, np.float64))[0], jnp.float32)
    print(f"system {given.number}: peak S/N {made.noiseless.max() / study.config.systems.noise:.0f}, chi2/pixel of the "
          f"truth {float(problem.chi2(truth, x, jnp.zeros(0))):.3f}", flush=True)  # fmt: skip
    nats, away = above(problem, truth, x)
    print(f"for the true source the mode is {float(nats):.1f} nats above the true lens, {float(away):.1f} widths of "
          "the Fisher matrix away", flush=True)  # fmt: skip

    sampler = Latent(stacked([problem]), prior, stacked([probes]), stage)
    K, d, size = given.chains, truth.size, truth.size + probes.shape[1]
    keys = jax.random.split(jax.random.key(given.number), (given.sweeps + 1, K))
    points = Point(jnp.tile(truth, (K, 1)), sampler.begin(keys[-1], jnp.tile(x, (K, 1, 1))))
    metric, angles, eta = 1e4 * np.eye(size), np.array([stage.angle]), []
    for b in range(given.sweeps):
        L, turns = jnp.asarray(factored(metric), jnp.float32)[None], jnp.full(K, angles[0], jnp.float32)
        points, seen, P = sampler.run(keys[b], points, jnp.zeros(K, int), L, turns, jnp.asarray(b < ADAPT))
        if b < ADAPT:
            angles = steered(angles, np.asarray(seen.acceptance)[:, None])
            metric = np.asarray(P, float).mean(0)
        eta.append(np.asarray(points.eta))
    z = (np.array(eta) - np.asarray(truth)) / np.array(eta)[given.sweeps // 4 :].reshape(-1, d).std(0)
    print(f"acceptance in the last sweep {np.asarray(seen.acceptance)}, angle {angles[0]:.3f}")
    print(f"{'sweeps':8}" + "".join(f"{name:>17}" for name in coordinates(study.lens.space)))
    for b in range(0, given.sweeps, 4):
        print(f"{b:<8}" + "".join(f"{value:17.1f}" for value in z[b : b + 4].mean((0, 1))), flush=True)
    for sigma in (0.03, 0.1, 0.3):
        ours = [beside(prior, x, image, jnp.asarray(sigma), jax.random.key(k)) for k, image in enumerate(seen.x)]
        error, true, gain = np.mean(ours, 0)
        print(f"s {sigma:g}: error/s^2 of the draws {error:.0f}, of the truth {true:.0f}; log p_s of the draws less "
              f"the truth's {np.round([float(t[2]) for t in ours], 1)} (mean {gain:.1f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
