"""Hamiltonian moves of a lens together with a noisy image."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from .kernels import Info, metropolis


class Forces(NamedTuple):
    """At w (m,), of log p(w) = f(w) + a part that only its gradient is known of: the gradient of f, or what comes near
    it; the other part's gradient, (m,) each.
    """

    gradient: Array
    score: Array


class Place(NamedTuple):
    """w (m,) and f there."""

    w: Array
    f: Array


class White(NamedTuple):
    """Coordinates w (d + n*n,) of a lens eta (d,) and a noisy image x_t (n, n), in which their density is to be as near
    to a normal one of variance 1 as is known.

    With u = (eta, x_t/sigma), w is L^T u along eta and the k orthonormal columns of Q (n*n, k), and u beyond. L: lower,
    (d + k, d + k); L L^T is the precision of u there. They must not depend on where a move begins.
    """

    L: Array
    Q: Array
    sigma: Array

    @property
    def d(self) -> int:
        return len(self.L) - self.Q.shape[1]

    def _changed(self, t: Array, change: Callable[[Array], Array]) -> Array:
        along = jnp.concatenate([t[: self.d], self.Q.T @ t[self.d :]])
        new = change(along)
        return jnp.concatenate([new[: self.d], t[self.d :] + self.Q @ (new - along)[self.d :]])

    def of(self, eta: Array, x_t: Array) -> Array:
        """w."""
        return self._changed(jnp.concatenate([eta, x_t.ravel() / self.sigma]), lambda u: self.L.T @ u)

    def at(self, w: Array) -> tuple[Array, Array]:
        """eta, x_t."""
        u = self._changed(w, lambda v: jax.scipy.linalg.solve_triangular(self.L, v, trans="T", lower=True))
        n = math.isqrt(len(w) - self.d)
        return u[: self.d], self.sigma * u[self.d :].reshape(n, n)

    def slope(self, by_eta: Array, by_x: Array) -> Array:
        """The gradient in w of what has these gradients in eta and x_t, (d + n*n,)."""
        t = jnp.concatenate([by_eta, self.sigma * by_x.ravel()])
        return self._changed(t, lambda g: jax.scipy.linalg.solve_triangular(self.L, g, lower=True))


class _Flight(NamedTuple):
    w: Array
    v: Array
    forces: Forces
    work: Array


def fly(
    key: Array,
    place: Place,
    f: Callable[[Array], Array],
    forces: Callable[[Array], Forces],
    angle: Array,
    steps: Array | int,
    free: Array | bool = True,
) -> tuple[Place, Info]:
    """Where one Hamiltonian Monte Carlo move of `steps` steps ends; steps + 1 forces, f at the end.

        v += tan(angle/2) (gradient + score + w);   (w, v) turn by `angle`;   the kick again.

    These are the places of the leapfrog with steps of 2 sin(angle/2), but momenta v have the variance that makes the
    energy exact for a normal density of variance 1: the noise in an image, of thousands of dimensions, costs no
    acceptance wherever its mean lies, and only what departs from it bounds the angle. The part of log p that is known
    by its gradient alone changes by the work of that along the way, the trapezium rule, which is exact for a Gaussian.
    A force that is not the gradient of f costs acceptance and nothing else, as long as it depends on w alone. What is
    not `free`, (m,), stays.
    """
    momentum_key, accept_key = jax.random.split(key)

    def step(i, flight):
        w, v, now, work = flight
        # the first step turns by nothing: the forces at w, by a program with forces in one place only
        turn = jnp.where(i == 0, 0.0, angle)
        kick, c, s = jnp.tan(turn / 2), jnp.cos(turn), jnp.sin(turn)
        v = v + kick * (now.gradient + now.score + w)
        new, v = jnp.where(free, c * w + s * v, w), c * v - s * w
        then = forces(new)
        v = v + kick * (then.gradient + then.score + new)
        work += jnp.sum((now.score + then.score) * (new - w)) / 2
        return _Flight(new, v, then, work)

    w = place.w
    v = jax.random.normal(momentum_key, w.shape, w.dtype)
    nothing = jnp.zeros_like(w)
    begin = _Flight(w, v, Forces(nothing, nothing), jnp.zeros((), w.dtype))
    end = jax.lax.fori_loop(0, steps + 1, step, begin)
    there = Place(end.w, f(end.w))
    log_ratio = there.f - place.f + end.work + jnp.sum(jnp.where(free, v**2 - end.v**2, 0.0)) / 2
    return metropolis(accept_key, there, place, log_ratio)


class Kind(NamedTuple):
    """Of flights. angle: of a step; steps: their number; whole: the image moves too, not the lens alone."""

    angle: Array
    steps: Array
    whole: Array


def flights(
    keys: Array,
    place: Place,
    f: Callable[[Array], Array],
    forces: Callable[[Array, Array], Forces],
    kinds: Kind,
    d: int,
) -> tuple[Array, Array]:
    """w (m,) after flights from `place`, one a key, each of its kind, and their acceptances.

    forces: of w and of `whole`; where that is False the lens alone moves, the first d coordinates.
    """

    def one(place, inputs):
        key, (angle, steps, whole) = inputs
        length_key, key = jax.random.split(key)
        # no two trajectories of one length, or some direction comes back to where it was
        angle = angle * jax.random.uniform(length_key, (), angle.dtype, 0.7, 1.1)
        free = whole | (jnp.arange(len(place.w)) < d)
        place, info = fly(key, place, f, lambda w: forces(w, whole), angle, steps, free)
        return place, info.acceptance

    (w, _), acceptance = jax.lax.scan(one, place, (keys, kinds))
    return w, acceptance
