"""Solvers of the reverse diffusion: their order, and what they make of a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.sampler.schedule import Schedule
from blindlens.sampler.sde import SOLVERS, diffuse

M, SD = 0.7, 0.4
"""Mean and sd of the scalar prior of which the exact solution is known."""


def denoise(x, sigma):
    return M + (x - M) * SD**2 / (SD**2 + sigma**2)


def law(step, sigmas):
    """Mean and variance that the solver's own recursion makes of p_sigmas[0]; steps are affine in x and the noise."""
    normal = jax.random.normal

    def apply(x, xi, now, then):
        jax.random.normal = lambda *_, **__: xi  # the noise of the step becomes an argument
        try:
            return step(jax.random.key(0), denoise, x, now, then)
        finally:
            jax.random.normal = normal

    @jax.jit
    def coefficients(now, then):
        zero = jnp.zeros(())
        b = apply(zero, zero, now, then)
        return b, apply(zero + 1, zero, now, then) - b, apply(zero, zero + 1, now, then) - b

    steps = jax.vmap(coefficients)(sigmas[:-1], sigmas[1:])
    mean, variance = M, SD**2 + float(sigmas[0]) ** 2
    for b, a, c in zip(*(np.asarray(t) for t in steps), strict=True):
        mean, variance = a * mean + b, a**2 * variance + c**2
    return mean, variance


@pytest.mark.parametrize(("solver", "order"), [("heun", 2), ("euler-maruyama", 1), ("flow", 2)])
def test_weak_order_of_convergence(solver, order):
    """The error of the variance falls as the step to the power `order`, without any Monte-Carlo noise."""
    with jax.enable_x64(True):
        schedule = Schedule(0.02, 5.0)
        end = SD**2 + 0.02**2
        errors = [abs(law(SOLVERS[solver], schedule.ladder(k))[1] - end) / end for k in (100, 200, 400)]
    assert errors[-1] < (0.03 if order == 1 else 3e-4)
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert order - 0.35 < np.log2(coarse / fine) < order + 0.35


K = 64


def gaussian_prior():
    rng = np.random.default_rng(0)
    E = np.linalg.qr(rng.normal(size=(K, K)))[0]
    return rng.normal(size=K), E, np.geomspace(2.0, 0.1, K)


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_samples_of_a_gaussian(solver):
    """Mean and covariance in the prior's own axes, within the errors of 4000 draws; control: half the noise."""
    mean, E, sd = gaussian_prior()
    draws, sigmas = 4000, Schedule(0.005, 30.0).ladder(300)

    def D(x, sigma, share=1.0):
        z = (x.ravel() - mean) @ E
        return (mean + E @ (z * sd**2 / (sd**2 + share * sigma**2))).reshape(8, 8)

    @jax.jit
    def run(keys, share):
        def one(key):
            start, walk = jax.random.split(key)
            spread = jnp.sqrt(sd**2 + sigmas[0] ** 2) * jax.random.normal(start, (K,))
            x = jnp.asarray(mean + E @ spread, jnp.float32).reshape(8, 8)
            return diffuse(walk, lambda x, s: D(x, s, share), x, sigmas, solver)

        return jax.lax.map(one, keys, batch_size=500)

    def worst(share):
        x = run(jax.random.split(jax.random.key(1), draws), share).reshape(draws, K)
        z = (np.asarray(x) - mean) @ E / sd
        off = np.abs(z.mean(0)) * np.sqrt(draws)
        covariance = np.cov(z.T) - np.eye(K)
        scale = np.sqrt((1 + np.eye(K)) / draws)
        return off.max(), np.abs(covariance / scale).max()

    means, covariance = worst(1.0)
    # Langevin's corrector has a step of its own, whose bias does not fall with the number of steps
    allowed = 25.0 if solver == "predictor-corrector" else 5.0
    assert means < 4.5 and covariance < allowed
    assert worst(0.5)[1] > 2 * allowed


def test_draws_do_not_depend_on_the_batch():
    sigmas = Schedule(0.01, 5.0).ladder(20)
    keys = jax.random.split(jax.random.key(5), 6)
    x = jax.random.normal(jax.random.key(6), (6, 4, 4))
    run = jax.jit(jax.vmap(lambda key, x: diffuse(key, denoise, x, sigmas)))
    np.testing.assert_allclose(run(keys, x)[4:5], run(keys[4:5], x[4:5]), rtol=1e-5, atol=1e-6)
