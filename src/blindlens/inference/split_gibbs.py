"""Split Gibbs with ridge moves: the joint sampler for Gaussian priors.

The target, with z the source that the data see and x the source of the prior,

    pi(x, z, l) ∝ p(x) p(l) N(z; x, rho^2 I) N(y~; A~_l z, I),

is sampled by three exact steps a sweep:

- x | z: a Gaussian draw;
- z | x, l: Gaussian, by perturb-and-optimise with conjugate gradients;
- ridge moves of lens and source together, z - x held: x = x0 + basis c integrates out, p(l | y) is known, and
  c = mean(l) + L(l)^-T u. The lens moves at fixed u, so the source follows it; then u is redrawn.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import SplitGibbsConfig
from ..prior import GaussianPrior
from ..sampler.kernels import Info, Mixture, State, Turn, init, jump, propose, rotate
from .evidence import Evidence
from .parallel import spread
from .problem import Problem, condition, draw

ACCEPTED = 0.9
"""Share of Hamiltonian moves that are to be accepted. Posteriors have tails narrower than the middle, which chains do
not leave for hundreds of sweeps where steps fit the middle alone (docs/joint_vs_oracle.md).
"""


class Chain(NamedTuple):
    """eta (d,), source x (n, n), nu = z - x (n, n), light amplitudes a (k,)."""

    eta: Array
    x: Array
    nu: Array
    a: Array


class SweepInfo(NamedTuple):
    """Statistics of a sweep: log_evidence of l, chi2 per pixel, acceptances, CG residual."""

    log_evidence: Array
    chi2_per_pixel: Array
    acceptance: Array
    jump_acceptance: Array
    translation_acceptance: Array
    cg_residual: Array


class Tuning(NamedTuple):
    """What warm-up adapts: a chain's reference mean (d,) and factor (d, d); the greatest angle of `rotate`."""

    mean: Array
    factor: Array
    angle: Array


def translate(key: Array, state: State, model: Evidence) -> tuple[State, Info]:
    """The source's field moves by up to 1.5 of its pixels a side, the lens as it is: one time in two by whole pixels,
    which the grid cannot tell apart.
    """
    step_key, whole_key, accept_key = jax.random.split(key, 3)
    steps = jax.random.uniform(step_key, (2,), state.position.dtype, -1.5, 1.5)
    steps = jnp.where(jax.random.bernoulli(whole_key), jnp.round(steps), steps)
    position, inside = model.problem.translated(state.position, steps[0], steps[1])
    # uniform in (xs, ys): the density of eta must not count the prior's shape
    factor = (jnp.sum(position**2) - jnp.sum(state.position**2)) / 2
    return propose(accept_key, state, model.log_posterior, position, jnp.where(inside, factor, -jnp.inf))


class SplitGibbs(eqx.Module):
    """The sampler for one problem.

    basis, dual: the directions of the source that follow the lens (`informed`); ridge moves hold the rest.
    """

    problem: Problem
    prior: GaussianPrior
    basis: Array
    dual: Array
    mixture: Mixture
    stage: SplitGibbsConfig = eqx.field(static=True)

    def _coefficients(self, x: Array) -> Array:
        return self.dual.T @ (x - self.prior.mean).ravel()

    def _image(self, c: Array) -> Array:
        return (self.basis @ c).reshape(self.prior.mean.shape)

    def ridge(self, key: Array, chain: Chain, tuning: Tuning) -> tuple[Chain, Turn, tuple[Array, ...]]:
        """Lens and source move together; nu and the part of x outside the basis are held. Returns the Hamiltonian move,
        and the log evidence with the mean acceptances of jumps and translations too.
        """
        r = self.basis.shape[1]
        rest = chain.x - self._image(self._coefficients(chain.x))
        model = Evidence(self.problem, self.basis, rest + chain.nu)
        counts = (self.stage.jumps, self.stage.translations)
        first_key, last_key, *keys = jax.random.split(key, sum(counts) + 2)

        def move(state, inputs):
            key, shifts = inputs
            state, info = jax.lax.cond(
                shifts,
                lambda: translate(key, state, model),
                lambda: jump(key, state, model.log_posterior, self.mixture),
            )
            return state, info.acceptance

        state, turn = self._hamiltonian(first_key, init(chain.eta, model.log_posterior), model, tuning)
        kinds = np.repeat([False, True], counts)
        state, acceptance = jax.lax.scan(move, state, (jnp.stack(keys), kinds))
        eta = state.position
        _, mean, L = condition(*self.problem.system(eta, self.basis, model.x0))
        c = draw(last_key, mean, L)
        log_evidence = state.logdensity + jnp.sum(eta**2) / 2
        chain = Chain(eta, rest + self._image(c[:r]), chain.nu, c[r:])
        by_kind = [jnp.mean(acceptance[kinds == k]) if n else jnp.zeros(()) for k, n in enumerate(counts)]
        return chain, turn, (log_evidence, *by_kind)

    def _hamiltonian(self, key: Array, state: State, model: Evidence, tuning: Tuning) -> tuple[State, Turn]:
        """A quarter of a turn under the reference Gaussian, in as many steps as the angle needs."""
        angle_key, move_key = jax.random.split(key)
        # half the angle at times, so that a chain leaves where the whole one is too large
        angle = tuning.angle * jax.random.uniform(angle_key, (), tuning.angle.dtype, 0.5, 1.0)
        steps = jnp.clip(jnp.round(jnp.pi / 2 / angle), 1, self.stage.leaps).astype(int)
        return rotate(move_key, state, model.log_posterior, tuning.mean, tuning.factor, angle, steps)

    def data_step(self, key: Array, chain: Chain, rho: Array) -> tuple[Chain, Array]:
        """z | x, l by perturb-and-optimise; returns the relative residual of the linear solve too."""
        problem, n = self.problem, self.prior.n
        forward = problem.linear(problem.params(chain.eta)).mv
        adjoint = jax.linear_transpose(forward, jax.ShapeDtypeStruct((n, n), chain.x.dtype))
        prior_key, data_key = jax.random.split(key)
        start = chain.x + rho * jax.random.normal(prior_key, (n, n), chain.x.dtype)
        noise = jax.random.normal(data_key, problem.y.shape, chain.x.dtype) * (problem.weight > 0)
        right = rho**2 * adjoint(problem.residual(chain.eta, start, chain.a) + noise)[0]

        def normal(v):
            return v + rho**2 * adjoint(forward(v))[0]

        step, _ = jax.scipy.sparse.linalg.cg(normal, right, tol=self.stage.cg_tolerance, maxiter=self.stage.cg_steps)
        residual = jnp.linalg.norm(normal(step) - right) / jnp.linalg.norm(right)
        return chain._replace(nu=start + step - chain.x), residual

    def sweep(self, key: Array, chain: Chain, tuning: Tuning, rho: Array) -> tuple[Chain, Turn, SweepInfo]:
        """Ridge moves, then the two steps between x and z."""
        ridge_key, data_key, prior_key = jax.random.split(key, 3)
        chain, turn, (log_evidence, *others) = self.ridge(ridge_key, chain, tuning)
        chain, residual = self.data_step(data_key, chain, rho)
        z = chain.x + chain.nu
        chi2 = self.problem.chi2(chain.eta, z, chain.a)
        x = self.prior.posterior_sample(prior_key, z, rho)
        info = SweepInfo(log_evidence, chi2, turn.acceptance, *others, residual)
        return chain._replace(x=x, nu=z - x), turn, info

    @eqx.filter_jit
    def run(self, keys: Array, chains: Chain, tuning: Tuning, rhos: Array, adapt: Array):
        """`rhos.size` sweeps of every chain; keys (K,). Returns the chains, tuning, and traces (K, sweeps, ...): chain,
        Hamiltonian move, the rest.
        """

        def one(shared, item):
            sampler, rhos, adapt = shared
            key, chain, tuning = item

            def step(carry, inputs):
                chain, tuning = carry
                key, rho, i = inputs
                chain, turn, info = sampler.sweep(key, chain, tuning, rho)
                gain = jnp.where(adapt, 0.5 / jnp.sqrt(1.0 + i), 0.0)
                angle = tuning.angle * jnp.exp(gain * (turn.acceptance - ACCEPTED))
                tuning = tuning._replace(angle=jnp.clip(angle, 0.02, jnp.pi / 2))
                return (chain, tuning), (chain, turn, info)

            inputs = (jax.random.split(key, rhos.size), rhos, jnp.arange(rhos.size))
            (chain, tuning), trace = jax.lax.scan(step, (chain, tuning), inputs)
            return chain, tuning, trace

        return spread(one, (self, rhos, adapt), (keys, chains, tuning))


@eqx.filter_jit
def gain_bound(problem: Problem, eta: Array, n: int, steps: int = 20) -> Array:
    """lambda_max(A~ A~^T) at eta by power iteration: rho^2 times it is the bias left at rho."""
    forward = problem.linear(problem.params(eta)).mv
    adjoint = jax.linear_transpose(forward, jax.ShapeDtypeStruct((n, n), problem.y.dtype))

    def step(_, carry):
        v, _ = carry
        w = adjoint(forward(v / jnp.linalg.norm(v)))[0]
        return w, jnp.linalg.norm(w)

    start = jnp.ones((n, n), problem.y.dtype)
    return jax.lax.fori_loop(0, steps, step, (start, jnp.zeros((), problem.y.dtype)))[1]
