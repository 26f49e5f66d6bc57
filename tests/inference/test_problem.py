"""The evidence, the source given the lens and their gradient against dense linear algebra in double precision."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.config import InitialiseConfig, RunConfig
from blindlens.inference.evidence import Evidence, Mode, climb, curved, fisher, informed
from blindlens.inference.problem import build_problem, condition, draw, rays
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import GaussianPrior


@pytest.fixture(scope="module")
def system():
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 4.0)
    prior = GaussianPrior.from_profiles(
        10, r, 0.5 * np.exp(-r / 0.3), 0.05 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k) ** 2, 10.0, 0.1, "test"
    )
    lens = LensModel()
    x = prior.sample(jax.random.key(0), (1,))
    (made,) = simulate(
        jax.random.key(1), np.asarray(10.0 * x + 0.1), lens, shape=(14, 14), pixel_scale=0.4, fov=3.0, supersampling=2
    )
    config = RunConfig().replace(flux_scale=1.0, source_fov=3.0)
    problem = build_problem(made.observation, prior, lens, config, 3.0)
    truth = lens.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    return Evidence(problem, prior.basis, prior.mean), truth, prior, made


def test_log_evidence_is_the_gaussian_of_the_data(system):
    evidence, truth, prior, _ = system
    b, H = (np.asarray(t, float) for t in evidence.problem.system(truth, evidence.basis, evidence.x0))
    V = H @ H.T + np.eye(b.size)
    sign, log_det = np.linalg.slogdet(V)
    assert sign == 1
    want = -(b @ np.linalg.solve(V, b) + log_det) / 2
    assert abs(float(evidence.log_evidence(truth)) - want) < 2e-3 * abs(want) ** 0.5


def test_the_noise_scale_is_that_of_the_gaussian_of_the_data(system):
    """p(y | l, s) = N(y; H c, s^2 Sigma), up to a constant: its ratio at two s, from dense matrices."""
    _, truth, prior, made = system
    config = RunConfig().replace(flux_scale=1.0, source_fov=3.0, noise_scale="infer")
    problem = build_problem(made.observation, prior, LensModel(), config, 3.0)
    evidence = Evidence(problem, prior.basis, prior.mean)
    assert problem.space.names[-1] == "noise_scale"
    base = Evidence(eqx.tree_at(lambda p: p.space, problem, LensModel().space), prior.basis, prior.mean)
    b, H = (np.asarray(t, float) for t in base.problem.system(truth, base.basis, base.x0))

    def dense(s: float) -> float:
        V = H @ H.T + s**2 * np.eye(b.size)
        return -(b @ np.linalg.solve(V, b) + np.linalg.slogdet(V)[1]) / 2

    etas = [jnp.append(truth, eta) for eta in (-0.6, 0.9)]
    scales = [float(problem.params(eta)["noise_scale"]) for eta in etas]
    got, want = np.diff([float(evidence.log_evidence(eta)) for eta in etas]), np.diff([dense(s) for s in scales])
    assert scales[1] / scales[0] > 2 and abs(got - want) < 0.05
    flat = np.diff([float(evidence.log_evidence(eta) + problem.log_det(problem.params(eta))) for eta in etas])
    assert abs(flat - want) > 50  # control: without the determinant
    assert float(problem.chi2(etas[0], evidence.x0, jnp.zeros(0))) == pytest.approx(
        (scales[1] / scales[0]) ** 2 * float(problem.chi2(etas[1], evidence.x0, jnp.zeros(0))), rel=1e-4
    )


@pytest.mark.slow
def test_a_noise_map_too_small_is_found_out(system):
    """An image whose noise is 1.5 times what its map says: the scale's mode is there, and not at 1."""
    _, truth, prior, made = system
    told = replace(made.observation, noise=made.observation.noise / 1.5)
    config = RunConfig().replace(flux_scale=1.0, source_fov=3.0, noise_scale="infer")
    problem = build_problem(told, prior, LensModel(), config, 3.0)
    evidence = Evidence(problem, prior.basis, prior.mean)
    end = jax.jit(lambda e: climb(evidence, e, 15))(jnp.append(truth, 0.0)).eta
    assert abs(np.log(float(problem.params(end)["noise_scale"]) / 1.5)) < 3 * np.sqrt(1 / (2 * told.n_used)) + 0.05


def test_system_is_linear_in_the_source(system):
    """b - H c is the whitened residual of the source x0 + basis c."""
    evidence, truth, prior, made = system
    c = jax.random.normal(jax.random.key(4), (evidence.basis.shape[1],))
    b, H = evidence.problem.system(truth, evidence.basis, evidence.x0)
    x, a = evidence.unpack(c)
    np.testing.assert_allclose(b - H @ c, evidence.problem.residual(truth, x, a).ravel(), atol=2e-3)


def test_draws_given_the_lens(system):
    evidence, truth, _, _ = system
    b, H = evidence.problem.system(truth, evidence.basis, evidence.x0)
    _, c, L = condition(b, H)
    draws = jax.vmap(lambda k: draw(k, c, L))(jax.random.split(jax.random.key(0), 40_000))
    want = np.linalg.inv(np.eye(len(c)) + np.asarray(H, float).T @ np.asarray(H, float))
    sd = np.sqrt(np.diag(want))
    assert np.abs(np.asarray(draws.std(0)) / sd - 1).max() < 0.03
    assert np.abs(np.asarray(draws.mean(0) - c) / sd).max() < 0.03
    assert np.abs(sd - 1).max() > 0.5  # control: the prior's widths would fail


def test_gradient_of_the_evidence_against_plain_differentiation(system):
    evidence, truth, _, _ = system
    b, H = evidence.problem.system(truth, evidence.basis, evidence.x0)

    def plain(b, H):
        L = jnp.linalg.cholesky(H.T @ H + jnp.eye(H.shape[1]))
        w = jax.scipy.linalg.solve_triangular(L, b @ H, lower=True)
        return -(b @ b - w @ w) / 2 - jnp.sum(jnp.log(jnp.diagonal(L)))

    with jax.enable_x64(True):
        b, H = jnp.asarray(np.asarray(b, float)), jnp.asarray(np.asarray(H, float))
        ours = jax.grad(lambda b, H: condition(b, H)[0], (0, 1))(b, H)
        for got, want in zip(ours, jax.grad(plain, (0, 1))(b, H), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-8 * float(jnp.abs(want).max()))


@pytest.mark.slow
def test_climb_ends_at_a_maximum_near_the_truth(system):
    evidence, truth, _, _ = system
    start = truth + 0.02 * jax.random.normal(jax.random.key(3), truth.shape)
    climbed = jax.jit(lambda e: climb(evidence, e, 15))
    mode = climbed(start)
    end = mode.eta
    F = fisher(evidence, end)
    assert float(mode.log_posterior) == pytest.approx(float(evidence.log_posterior(end)), abs=0.01)
    np.testing.assert_allclose(mode.factor @ mode.factor.T @ F, np.eye(len(end)), atol=0.02)
    assert float(climbed(start * jnp.nan).log_posterior) == -np.inf
    z = np.linalg.cholesky(np.asarray(F, float)).T @ np.asarray(end - truth, float)
    assert float(evidence.log_posterior(end)) > float(evidence.log_posterior(start))
    assert z @ z < 50  # 12 degrees of freedom


def test_informed_directions_hold_the_evidence_and_leave_the_prior_alone(system):
    evidence, truth, prior, _ = system
    tail = 0.5
    found = informed(evidence, truth[None], tail, 99)
    k, r = found.basis.shape[1], evidence.basis.shape[1]
    assert k < r
    few = Evidence(evidence.problem, found.basis, evidence.x0)
    # of the unnormalised evidence all but tail / 2 nats; the quadratic part may only fall
    assert abs(float(few.log_evidence(truth) - evidence.log_evidence(truth))) < 3 * tail
    x = prior.sample(jax.random.key(8), (4000,)).reshape(4000, -1) - prior.mean.ravel()
    c = np.asarray(x @ found.dual, float)
    np.testing.assert_allclose(np.cov(c.T), np.eye(k), atol=0.12)
    rest = np.asarray(x, float) - c @ np.asarray(found.basis, float).T
    z = (c.T @ rest / np.sqrt(4000)) / (rest.std(0) + 1e-12)
    assert np.abs(z).max() < 5.5  # uncorrelated: thousands of normal scores
    # with what is left out put back, draws have the prior's covariance; without it, too little
    ours = jax.random.normal(jax.random.key(9), (4000, k)) @ found.basis.T
    whole = ours + found.rest(jax.random.key(10), prior, 4000).reshape(4000, -1)
    E = np.asarray(evidence.basis / jnp.sum(evidence.basis**2, 0), float)  # whitens
    ratio, control = (np.var(np.asarray(t, float) @ E, 0) for t in (whole, ours))
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / 4000) and control.min() < 0.8
    # control: half as many directions lose more than the tail
    less = Evidence(evidence.problem, found.basis[:, : k // 4], evidence.x0)
    assert abs(float(less.log_evidence(truth) - evidence.log_evidence(truth))) > 3 * tail


def test_a_translation_by_whole_source_pixels_moves_the_source_position_alone(system):
    evidence, truth, _, _ = system
    problem = evidence.problem
    moved, inside = problem.translated(truth, 1, -1)
    old, new = problem.params(truth), problem.params(moved)
    pixel = 3.0 / 10
    expected = {name: float(value) for name, value in old.items()}
    expected["xs"] += pixel
    expected["ys"] -= pixel
    within = all(abs(expected[name]) < 0.35 for name in ("xs", "ys"))
    assert bool(inside) == within
    for name in old:
        if within or name not in ("xs", "ys"):
            assert abs(float(new[name]) - expected[name]) < 1e-5
    assert not bool(problem.translated(truth, 9, 0)[1])


@pytest.mark.parametrize(
    "given, pixel, source_pixel, signal_to_noise, wanted",
    [
        ("auto", 12 / 64, 6.24 / 64, 30, (2, 8)),  # arXiv:2511.04792
        ("auto", 12 / 64, 6.24 / 64, 140, (3, 8)),
        ("auto", 12 / 64, 6.24 / 64, 700, (7, 8)),
        ("auto", 0.05, 0.079, 30, (1, 3)),
        ("auto", 0.1, 0.05, 30, (2, 8)),
        ("auto", 0.1, 0.0499, 30, (3, 8)),
        ("auto", 0.1, 0.0499, 10, (2, 8)),
        ("auto", 0.1, 0.05, -3, (2, 8)),  # an image without light
        ("auto", 1.0, 0.05, 50, (4, 8)),
        ("auto", 1.0, 0.05, 1e4, (8, 8)),
        ("auto", 0.01, 0.05, 30, (1, 1)),
        ("auto", 0.05, None, 30, (2, None)),
        (3, 0.05, 0.079, 1e4, (3, None)),
    ],
)
def test_rays_are_as_close_as_source_pixels_and_noise_ask_for(given, pixel, source_pixel, signal_to_noise, wanted):
    assert rays(RunConfig().replace(supersampling=given), pixel, source_pixel, signal_to_noise) == wanted


def test_more_rays_leave_fewer_directions_of_the_source_down_to_128():
    stage = InitialiseConfig()
    assert [stage.directions(rays) for rays in (1, 4, 16, 25, 64)] == [384, 384, 192, 128, 128]
    assert InitialiseConfig(most_rank=20).directions(64) == 20


class Quartic(eqx.Module):
    """A density that is narrow along the first axis, wide along the second, and flat along the third."""

    factor: jax.Array
    broken: bool = False

    def log_posterior(self, eta):
        z = self.factor.T @ eta
        return (-(z[0] ** 2) / 2 - z[1] ** 2 / 18 - z[2] ** 4 / 1e4) * jnp.where(self.broken, jnp.nan, 1.0)


def test_a_mode_is_as_wide_as_the_gradients_beside_it_say():
    turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (3, 3)))[0]
    narrow = Mode(jnp.zeros(3), jnp.eye(3), jnp.zeros(()))
    wide = curved(Quartic(turn), narrow)
    sd = jnp.sqrt(jnp.diagonal(turn.T @ wide.factor @ wide.factor.T @ turn))
    np.testing.assert_allclose(sd, [1.0, 3.0, np.sqrt(10)], rtol=1e-3)
    # control: where the gradients are no numbers the mode stays what it was
    np.testing.assert_array_equal(curved(Quartic(turn, True), narrow).factor, narrow.factor)
