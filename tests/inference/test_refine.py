"""NUTS for the lens given the source against importance sampling; a Gibbs sweep leaves exact joint draws exact."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.config import RefineConfig
from blindlens.inference.evidence import Evidence, climb
from blindlens.inference.problem import Problem
from blindlens.inference.refine import gibbs_end, lens_given_source
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.prior import GaussianPrior
from blindlens.sampler.kernels import Mixture

N, FOV, NOISE = 12, 3.0, 0.5


def small(seed: int = 0) -> tuple[Problem, GaussianPrior, jax.Array, jax.Array]:
    """24x24 pixels of a singular isothermal ellipsoid before a Gaussian source: problem, prior, true eta, true x."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
    prior = GaussianPrior.from_profiles(
        N, r, 0.5 * np.exp(-r / 0.3), 0.05 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k) ** 2, 10.0, 0.1, "test"
    )
    lens = LensModel(("sie",), {"Rein": (0.8, 1.8)})
    operator = LensOperator(lens, (24, 24), 0.2, N, FOV, interpolation="cubic", supersampling=1)
    blank = jnp.zeros((24, 24))
    problem = Problem(operator, blank, blank + 1 / NOISE, lens.space, None, prior.scale, prior.offset)
    values = {"x0": 0.05, "y0": -0.03, "q": 0.75, "phi": 0.6, "Rein": 1.2, "xs": 0.12, "ys": 0.08}
    truth = lens.space.to_normal({name: jnp.asarray(value) for name, value in values.items()})
    source_key, noise_key = jax.random.split(jax.random.key(seed))
    x = prior.sample(source_key)
    y = eqx.filter_jit(problem.source_image)(truth, x) + NOISE * jax.random.normal(noise_key, blank.shape)
    return eqx.tree_at(lambda p: p.y, problem, y), prior, truth, x


def weighted(log_density, mode, factor, draws: int):
    """Importance sampling from a t distribution: eta (draws, d) and weights that sum to 1."""
    proposal = Mixture(mode[None], factor[None], jnp.zeros(1))
    drawn = jax.vmap(proposal.sample)(jax.random.split(jax.random.key(9), draws))
    log_w = jax.lax.map(lambda e: log_density(e) - proposal.log_density(e), drawn, batch_size=8)
    return drawn, jax.nn.softmax(log_w)


@jax.jit
def reference(problem: Problem, x, eta):
    """Draws of p(l | y, x) and their weights; eta: where to climb from."""

    def misfit(eta):
        return (problem.weight * (problem.y - problem.source_image(eta, x))).ravel()

    def step(eta, _):
        r, J = misfit(eta), jax.jacfwd(misfit)(eta)
        F = J.T @ J + jnp.eye(eta.size)
        return eta - jnp.linalg.solve(F, J.T @ r + eta), F

    mode, F = jax.lax.scan(step, eta, None, length=8)
    factor = jnp.linalg.cholesky(jnp.linalg.inv(F[-1]))
    return weighted(lambda e: -jnp.sum(misfit(e) ** 2) / 2 - jnp.sum(e**2) / 2, mode, 1.2 * factor, 8000)


def moments(drawn, weights) -> tuple[np.ndarray, np.ndarray]:
    drawn, weights = np.asarray(drawn, float), np.asarray(weights, float)
    assert 1 / np.sum(weights**2) > 0.2 * len(weights)
    mean = weights @ drawn
    return mean, (drawn - mean).T @ ((drawn - mean) * weights[:, None])


def disagreement(draws: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """The greatest error of the mean, and of a covariance, in the reference's widths."""
    z = np.linalg.solve(np.linalg.cholesky(covariance), (draws - mean).T)
    return float(np.abs(z.mean(1)).max()), float(np.abs(np.cov(z) - np.eye(len(z))).max())


@pytest.mark.parametrize(
    "settings",
    [
        {"mass": "dense", "precondition": True, "step": 0.1, "warmup": 100},
        pytest.param({}, marks=pytest.mark.slow, id="as published"),
    ],
)
def test_nuts_draws_the_lens_given_the_source(settings):
    problem, _, truth, x = small()
    chains, samples = 4, 400
    keys = jax.random.split(jax.random.key(1), chains)
    start = truth + 0.02 * jax.random.normal(jax.random.key(2), (chains, truth.size))
    stage = RefineConfig(**settings)
    found = lens_given_source(
        keys, problem, start, jnp.broadcast_to(x, (chains, N, N)), jnp.zeros((chains, 0)), stage, samples
    )
    draws = np.asarray(found.eta, float).reshape(-1, truth.size)
    assert found.eta.shape == (chains, samples, truth.size) and int(found.divergent.sum()) == 0
    assert 0.6 < float(found.acceptance.mean()) < 0.98
    assert int(found.leapfrogs.max()) < 2**stage.depth
    mean, covariance = disagreement(draws, *moments(*reference(problem, x, truth)))
    assert mean < 0.15 and covariance < 0.2, (mean, covariance)
    # controls: a source too bright by a twentieth, and noise twice as high
    bright = ((problem.scale * x + problem.offset) * 1.05 - problem.offset) / problem.scale
    assert disagreement(draws, *moments(*reference(problem, bright, truth)))[0] > 0.5
    noisy = eqx.tree_at(lambda p: p.weight, problem, problem.weight / 2)
    assert disagreement(draws, *moments(*reference(noisy, x, truth)))[1] > 0.5


@pytest.mark.slow
def test_a_draw_depends_on_its_own_key_alone():
    # in double precision: side by side, sums are rounded in another order, which a chain amplifies
    with jax.enable_x64(True):
        problem, prior, truth, x = small()
        keys, a = jax.random.split(jax.random.key(3), 4), jnp.zeros((4, 0))
        xs = jnp.asarray(x + 0.01 * prior.sample(jax.random.key(4), (4,)), float)
        eta = truth + 0.02 * jax.random.normal(jax.random.key(5), (4, truth.size))
        stage = RefineConfig(mass="dense", precondition=True, step=0.1, warmup=20)
        four = lens_given_source(keys, problem, eta, xs, a, stage, 2)
        back = lens_given_source(keys[::-1], problem, eta[::-1], xs[::-1], a, stage, 2)
        pairs = lens_given_source(keys, problem, eta, xs, a, stage.model_copy(update={"batch": 2}), 2)
        for one, other, third in zip(four, back, pairs, strict=True):
            np.testing.assert_array_equal(one, other[::-1])
            np.testing.assert_allclose(one, third, atol=1e-6)
        assert float(jnp.abs(four.eta[0] - four.eta[1]).max()) > 1e-2


class Exact(eqx.Module):
    """x | l, y under the Gaussian prior, its surface brightness multiplied by `gain`."""

    evidence: Evidence
    gain: jax.Array

    def __call__(self, key, eta, a, x):
        scale, offset = self.evidence.problem.scale, self.evidence.problem.offset
        new, _ = self.evidence.source(key, eta)
        return (self.gain * (scale * new + offset) - offset) / scale


@pytest.mark.slow
def test_a_gibbs_sweep_leaves_the_joint_posterior_as_it_is():
    problem, prior, truth, _ = small()
    evidence = Evidence(problem, prior.basis, prior.mean)
    count, key = 128, jax.random.key(6)
    mode = jax.jit(lambda e: climb(e, truth, 10))(evidence)
    drawn, weights = jax.jit(lambda e: weighted(e.log_posterior, mode.eta, 1.4 * mode.factor, 4000))(evidence)
    mean, covariance = moments(drawn, weights)
    # systematic resampling: exact joint draws, once the source is drawn given each lens
    ticks = (np.arange(count) + 0.5) / count
    eta = drawn[np.searchsorted(np.cumsum(np.asarray(weights, float)), ticks)]
    x = jax.jit(lambda k, e: jax.lax.map(lambda item: evidence.source(*item)[0], (k, e)))(
        jax.random.split(jax.random.key(8), count), eta
    )
    stage = RefineConfig(mass="dense", precondition=True, step=0.1, warmup=60)

    def shifts(gain: float) -> tuple[np.ndarray, np.ndarray]:
        """Change of mean and of squared width in standard errors, in the marginal's widths; pairs cancel most noise."""
        keys = jax.random.split(key, count)
        redraw = Exact(evidence, jnp.asarray(gain))
        _, lens = gibbs_end(keys, problem, eta, x, jnp.zeros((count, 0)), redraw, stage)
        L = np.linalg.cholesky(covariance)
        old, new = (np.linalg.solve(L, (np.asarray(e, float) - mean).T) for e in (eta, lens.eta[:, 0]))
        return tuple(d.mean(1) / (d.std(1) / np.sqrt(count)) for d in (new - old, new**2 - old**2))

    means, widths = shifts(1.0)
    assert np.abs(means).max() < 3.5 and np.abs(widths).max() < 3.5, (means, widths)
    assert np.abs(shifts(1.05)[0]).max() > 5  # control
