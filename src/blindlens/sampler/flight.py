"""Hamiltonian moves of a lens together with a noisy image."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from .kernels import Info, metropolis


class Forces(NamedTuple):
    """At (eta, x_t), of log p(x_t, eta | y) = log p(x_t) + f(eta, x_t): f; its gradient in eta, (d,); D = E[x | x_t],
    (n, n), with d log p/d x_t = (D - x_t)/sigma^2; G (n, n), with d log p/d x_t + d f/d x_t = (G - x_t)/sigma^2.
    """

    f: Array
    gradient: Array
    D: Array
    G: Array


class _Flight(NamedTuple):
    zeta: Array
    q: Array
    w: Array
    v: Array
    forces: Forces
    work: Array


def fly(
    key: Array,
    eta: Array,
    x_t: Array,
    forces: Callable[[Array, Array], Forces],
    factor: Array,
    sigma: Array,
    angle: Array,
    steps: int,
) -> tuple[Array, Array, Info]:
    """eta (d,) and x_t (n, n) after one Hamiltonian Monte Carlo move of `steps` steps; steps + 1 forces.

    In zeta = factor^-1 eta and q = x_t/sigma, with momenta w and v:

        w += tan(angle/2) (factor^T gradient + zeta),   v += tan(angle/2) G/sigma;   (zeta, w), (q, v) turn by `angle`;
        the kicks again.

    These are the places of the leapfrog with steps of 2 sin(angle/2), but momenta have the variance that makes the
    energy exact for a normal density of variance 1: the noise in x_t, of thousands of dimensions, costs no acceptance
    wherever D lies, and only what departs from it bounds the angle (no stiffness of a smoothed density exceeds
    1/sigma^2). log p(x_t) changes by the work of its gradient along the way, the trapezium rule, which is exact for
    a Gaussian. `factor`: lower, of the covariance of eta given x_t; it must not depend on where the move begins.
    """
    eta_key, x_key, accept_key = jax.random.split(key, 3)
    kick, c, s = jnp.tan(angle / 2), jnp.cos(angle), jnp.sin(angle)

    def kicked(zeta, w, v, now):
        return w + kick * (factor.T @ now.gradient + zeta), v + kick * now.G / sigma

    def step(flight, _):
        zeta, q, w, v, now, work = flight
        w, v = kicked(zeta, w, v, now)
        zeta, w = c * zeta + s * w, c * w - s * zeta
        new_q, v = c * q + s * v, c * v - s * q
        then = forces(factor @ zeta, sigma * new_q)
        # D and x_t lie sigma apart, and far from zero
        work += jnp.sum((now.D / sigma - q + then.D / sigma - new_q) * (new_q - q)) / 2
        return _Flight(zeta, new_q, *kicked(zeta, w, v, then), then, work), None

    zeta, q = jax.scipy.linalg.solve_triangular(factor, eta, lower=True), x_t / sigma
    w, v = jax.random.normal(eta_key, zeta.shape, zeta.dtype), jax.random.normal(x_key, q.shape, q.dtype)
    begin = _Flight(zeta, q, w, v, forces(eta, x_t), jnp.zeros((), q.dtype))
    end, _ = jax.lax.scan(step, begin, None, length=steps)

    def kinetic(flight):
        return (jnp.sum(flight.v**2) + jnp.sum(flight.w**2)) / 2

    log_ratio = end.forces.f - begin.forces.f + end.work + kinetic(begin) - kinetic(end)
    (eta, x_t), info = metropolis(accept_key, (factor @ end.zeta, sigma * end.q), (eta, x_t), log_ratio)
    return eta, x_t, info
