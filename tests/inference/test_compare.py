import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from conftest import TINY_CONFIG, TINY_LENS

from blindlens.errors import BlindlensError
from blindlens.inference.compare import compare, kernels, models, united
from blindlens.inference.evidence import Evidence, climb
from blindlens.inference.extension import Extension, scan
from blindlens.inference.oracle import covering
from blindlens.inference.population import mean_weight, population, refitted, tempered
from blindlens.inference.problem import build_problem
from blindlens.lens.mass import LensModel
from blindlens.sampler.kernels import Mixture

RANGES = {"Rein": (0.8, 1.5), "theta_sub": (0.01, 0.3)}


def pair(tiny_system):
    made, prior = tiny_system
    config = TINY_CONFIG
    large = LensModel(("sie", "sis_subhalo"), RANGES)

    def evidence(lens):
        return Evidence(build_problem(made.observation, prior, lens, config, 3.0), prior.basis, prior.mean)

    small = evidence(TINY_LENS)
    truth = TINY_LENS.space.to_normal({k: jnp.float32(v) for k, v in made.truth.items()})
    return Extension(small, evidence(large)), climb(small, truth, 20).eta


class Gaussians:
    """A density of known integral: two bent ridges, in place of an Evidence."""

    @staticmethod
    def log_posterior(eta):
        d = eta.size
        bent = eta.at[1].add(-0.7 * eta[0] ** 2)
        wide = jnp.array([1.0, *[0.2] * (d - 1)])

        def one(centre):
            z = (bent - centre) / wide
            return -jnp.sum(z**2) / 2 - jnp.sum(jnp.log(wide))

        return jnp.logaddexp(one(jnp.zeros(d)), one(jnp.full(d, 1.0)) + np.log(3.0))


@pytest.mark.slow
def test_population_finds_a_known_integral_and_its_error_is_honest():
    d, found, errors, tails = 4, [], [], []
    start = Mixture(jnp.array([[0.0] * d, [1.0] * d]), jnp.stack([jnp.eye(d)] * 2), jnp.zeros(2))
    start = Mixture(*(jnp.repeat(t, 8, 0) for t in start[:3]))
    for seed in range(12):
        key = jax.random.key(seed)
        scattered = start._replace(means=start.means + 0.5 * jax.random.normal(key, start.means.shape))
        estimate = population(key, Gaussians(), scattered, 400, 5)
        found.append(estimate.log_evidence)
        errors.append(estimate.error)
        tails.append(estimate.tail)
    assert np.median(tails) < 0.7
    exact = np.log(4.0)  # the density has no factor (2 pi)^(-d/2), which `population` divides by
    z = (np.array(found) - exact) / np.array(errors)
    assert np.max(errors) < 0.3
    assert abs(np.mean(z)) < 1.2 and 0.3 < np.sqrt(np.mean(z**2)) < 2.0
    assert np.std(found) > 0  # other seeds, other draws


def test_the_tail_of_the_weights_is_seen():
    rng = np.random.default_rng(3)
    heavy, light = (np.log(rng.pareto(1 / k, 2000) + 1) for k in (1.2, 0.2))
    assert mean_weight(heavy)[3] > 0.9 and mean_weight(light)[3] < 0.4
    log_mean, error, ess, _ = mean_weight(light - 800)
    weights = np.exp(light)
    relative = weights.std() / weights.mean()
    np.testing.assert_allclose(log_mean, np.log(weights.mean()) - 800)
    np.testing.assert_allclose([error, ess], [relative / np.sqrt(2000), 2000 / (1 + relative**2)], rtol=1e-9)
    assert mean_weight(np.full(100, -1e30))[3] == np.inf  # nothing was found


def test_evidence_of_a_tiny_lens_agrees_with_a_dense_sum_over_the_prior(tiny_system):
    """Brute force: the mean of p(y | l) over draws of a Gaussian twice as wide as the Laplace approximation."""
    extension, eta = pair(tiny_system)
    small = extension.small
    mode = jax.jit(lambda eta: climb(small, eta, 1))(eta)
    rng = np.random.default_rng(0)
    draws, d = 4000, len(eta)
    z = rng.normal(size=(draws, d))
    points = np.asarray(mode.eta) + 1.6 * z @ np.asarray(mode.factor).T
    values = np.asarray(jax.jit(lambda e: jax.lax.map(small.log_posterior, e))(jnp.asarray(points, jnp.float32)))
    log_q = -np.sum(z**2, 1) / 2 - np.sum(np.log(1.6 * np.diagonal(mode.factor)))  # both without (2 pi)^(-d/2)
    brute = scipy.special.logsumexp(values - log_q) - np.log(draws)
    modes = jax.tree.map(lambda t: t[None], mode)
    estimate = population(jax.random.key(1), small, covering(small, modes), 300, 4)
    assert estimate.ess > 60 and estimate.tail < 0.7
    assert abs(estimate.log_evidence - brute) < 0.25
    half = population(
        jax.random.key(1), Evidence(small.problem, small.basis, small.x0 + 0.3), covering(small, modes), 300, 2
    )
    assert abs(half.log_evidence - brute) > 1  # another prior mean, another evidence


def test_a_scan_follows_the_other_parameters(tiny_system):
    extension, eta = pair(tiny_system)
    extra = jax.random.normal(jax.random.key(0), (60, 3))
    found = scan(extension, eta, extra)
    log_posterior = jax.jit(lambda e: jax.lax.map(extension.large.log_posterior, e))
    np.testing.assert_allclose(found.value, log_posterior(found.eta) + jnp.sum(extra**2, 1) / 2, rtol=1e-5)
    stayed = log_posterior(extension.joined(jnp.broadcast_to(eta, (60, len(eta))), extra)) + jnp.sum(extra**2, 1) / 2
    weak = np.asarray(found.value) > np.median(found.value)
    assert np.mean(np.asarray(found.value - stayed)[weak]) > 0.1  # it pays to follow
    # where the subhalo is next to nothing, the small model's value comes back
    nothing = extra.at[:, 2].set(-6.0)
    value = scan(extension, eta, nothing).value
    np.testing.assert_allclose(jnp.median(value), extension.small.log_posterior(eta), atol=1.5)


def test_models_that_do_not_nest_are_refused(tiny_system):
    made, prior = tiny_system

    def evidence(lens):
        return Evidence(build_problem(made.observation, prior, lens, TINY_CONFIG, 3.0), prior.basis, prior.mean)

    with pytest.raises(BlindlensError, match="lacks gamma_1"):
        Extension(evidence(LensModel(("sie", "shear"))), evidence(LensModel(("sie", "sis_subhalo"))))
    with pytest.raises(BlindlensError, match="same prior for Rein"):
        Extension(evidence(LensModel(("sie",))), evidence(LensModel(("sie", "shear"), {"Rein": (0.5, 1.0)})))
    with pytest.raises(BlindlensError, match="unknown mass component"):
        models(TINY_CONFIG, ("nothing",))


def test_ranges_of_the_extra_components_may_be_configured():
    config = TINY_CONFIG.replace(lens={"mass": ("sie",), "ranges": RANGES})
    small, large = models(config, ("sis_subhalo",))
    assert set(large.space.names) - set(small.space.names) == {"x_sub", "y_sub", "theta_sub"}
    with pytest.raises(BlindlensError, match="no prior range can be set for 'theta'"):
        models(config.replace(lens={"mass": ("sie",), "ranges": {"theta": (0, 1)}}), ("sis_subhalo",))


def test_tempering_and_refitting():
    rng = np.random.default_rng(1)
    weights = tempered(100 * rng.normal(size=500), 50.0)
    assert 49 < 1 / np.sum(weights**2) < 55
    np.testing.assert_allclose(tempered(np.zeros(10), 5.0), 0.1)
    # draws of a normal density, all of one weight: it is found
    draws = np.array([1.0, -2.0]) + rng.normal(size=(4000, 2)) * [0.3, 2.0]
    mixture = Mixture(jnp.zeros((1, 2)), 3 * jnp.eye(2)[None], jnp.zeros(1), 1e6)
    for _ in range(3):
        mixture = refitted(mixture, draws, np.zeros(4000))
    np.testing.assert_allclose(mixture.means[0], [1.0, -2.0], atol=0.1)
    np.testing.assert_allclose(np.diagonal(mixture.factors[0]), [0.3, 2.0], rtol=0.05)


def test_kernels_cover_the_points_by_their_weights():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(3000, 3))
    mixture = kernels(jax.random.key(0), points, -np.sum((points - 1) ** 2, 1) / 2, np.zeros((3, 3)), 200)
    both = united(mixture, mixture._replace(means=mixture.means + 100))
    draws = jax.vmap(both.sample)(jax.random.split(jax.random.key(1), 4000))
    near = np.asarray(draws[draws[:, 0] < 50])
    assert abs(len(near) / 4000 - 0.5) < 0.05
    np.testing.assert_allclose(near.mean(0), 0.5, atol=0.2)  # N(0, 1) times N(1, 1)


@pytest.mark.slow
def test_compare_end_to_end(tiny_system, tmp_path):
    made, prior = tiny_system
    config = TINY_CONFIG.replace(
        lens={"mass": ("sie",), "ranges": RANGES},
        compare={"scan": 100, "starts": 2, "components": 8, "draws": 150, "rounds": 3},
    )
    found = compare(made.observation, ("sis_subhalo",), prior, config, out=tmp_path)
    # a system without a subhalo: no more than its prior volume is lost, and none is found
    assert -8 < found.gain < 1 and ("no need" in found.words() or "undecided" in found.words())
    assert set(found.extra) == {"x_sub", "y_sub", "theta_sub"}
    assert (tmp_path / "compare.json").is_file()
