"""The parts of the sampler for priors without a density, on a Gaussian one that hides its own."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.config import RenoiseConfig, RunConfig
from blindlens.errors import BlindlensError
from blindlens.guidance import local_gaussian
from blindlens.inference.beginnings import Start
from blindlens.inference.evidence import Evidence, Mode, informed
from blindlens.inference.problem import build_problem
from blindlens.inference.renoise import Chain, Renoise, SweepInfo, data_precision, precision_at
from blindlens.inference.renoise_run import BATCH, Group, adapted, ladder, probes, steered, swept
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import GaussianPrior, load_prior
from blindlens.sampler.kernels import Mixture


def test_noise_must_fall():
    for levels in ({"first": 0.05}, {"last": 0.005}, {"end": 0.1}):
        with pytest.raises(BlindlensError, match="noise must fall"):
            RenoiseConfig.from_mapping(levels)
    sigmas = ladder(RenoiseConfig(), 0.5)
    assert len(sigmas) == RenoiseConfig().levels + 1 and (np.diff(sigmas) < 0).all() and sigmas[0] == pytest.approx(0.5)


def tiny() -> GaussianPrior:
    """A prior on 8 x 8 pixels."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 3.0)
    return GaussianPrior.from_profiles(
        8, r, np.exp(-r / 0.3), 0.1 + 0.4 * np.exp(-r / 0.35), k, 1 / (1 + k**2), 10.0, 0.0, "tiny", delta=0.02
    )


def test_sweeps_start_lower_where_the_mean_source_does_not_explain_the_image():
    stage, good, bad = RenoiseConfig(), np.array([[0.97, 0.9, 0.98]] * 4), np.array([[3.0, 1.2, 1.0]] * 4)
    first = stage.first
    for _ in range(20):
        assert stage.last < adapted(stage, first, bad) < first or first == pytest.approx(1.2 * stage.last)
        first = adapted(stage, first, bad)
    assert first == pytest.approx(1.2 * stage.last)
    for _ in range(40):
        first = adapted(stage, first, good)
    assert first == stage.first
    # the farther off, the faster
    little, much = (np.array([[ratio, 1.0, 1.0]] * 4) for ratio in (1.01, 1.3))
    assert [adapted(stage, 1.0, explained) for explained in (good, little, much)] == pytest.approx([1.1, 0.75, 0.5])


def test_there_are_as_many_probes_as_the_image_needs():
    """What they leave of chi2 per pixel, against draws of the Gaussian: no more than what may be left."""
    gaussian, lens = load_prior("galaxy-gaussian", 16), LensModel(("sie",))
    x = gaussian.scale * gaussian.sample(jax.random.key(0)) + gaussian.offset
    system = {"shape": (24, 24), "pixel_scale": 0.2, "fov": 3.0, "sigma": 0.5}
    (made,) = simulate(jax.random.key(1), np.asarray(x)[None], lens, **system)
    problem = build_problem(made.observation, gaussian, lens, RunConfig().replace(flux_scale=1.0), 3.0)
    eta = lens.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    directions = informed(Evidence(problem, gaussian.basis, gaussian.mean), eta[None], 1e-3, 999)
    mode = Mode(eta[None], jnp.eye(eta.size)[None], jnp.zeros(1))
    start = Start(mode, 3.0, (24, 24), directions, made.observation)
    full = Evidence(problem, directions.basis, gaussian.mean)
    draws = (gaussian.sample(jax.random.key(2), (300,)) - gaussian.mean).reshape(300, -1)

    def left(k):
        rest = draws - (draws @ directions.dual[:, :k]) @ directions.basis[:, :k].T
        H = problem.system(eta, rest.T, gaussian.mean)[1]
        return float(jnp.mean(jnp.sum(H**2, 0))) / problem.y.size

    whole = directions.basis.shape[1]
    shares = [left(whole // 3), left(whole // 8)]
    found = [probes(full, start, RenoiseConfig(unseen=share)) for share in (0.0, *shares)]
    sizes = [Q.shape[1] for Q in found]
    print(sizes, shares, [left(k) for k in sizes])
    assert whole == sizes[0] > sizes[1] > sizes[2] and not any(k % BATCH for k in sizes[1:])
    for Q, share in zip(found[1:], shares, strict=True):
        np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-5)
        assert left(Q.shape[1]) < 1.1 * share < left(Q.shape[1] - 2 * BATCH)
    assert probes(full, start, RenoiseConfig(unseen=0.0, rank=7)).shape == (256, 7)


def test_flights_have_the_metric_that_chains_saw_late_in_the_warm_up():
    """The mean over chains; what was seen while chains settled counts for nothing, what was seen early by halves."""
    stage, d, chains = RenoiseConfig(warmup=8, levels=2), 3, 2
    none = Mixture(jnp.zeros((1, 0, d)), jnp.zeros((1, 0, d, d)), jnp.zeros((1, 0)))
    given = []

    def sweep(keys, chain, which, how):
        given.append(how)
        scale = jnp.array([1.0, 3.0])[:, None] * 10.0 ** (len(given) - 1)
        metric = scale[..., None, None] * jnp.eye(d) * jnp.ones((2, 2, 1, 1))
        each = jnp.ones((chains, 2, 2))
        return chain._replace(eta=chain.eta + 1), SweepInfo(
            jnp.ones(chains), each[:, 0], 0.8 * each, jnp.zeros((chains, 2)), jnp.ones((chains, 2)), metric
        )

    begin = Chain(jnp.zeros((chains, d)), jnp.zeros((chains, 4, 4)), jnp.zeros((chains, 0)))
    problem, probes = SimpleNamespace(sky=0.0), jnp.zeros((1, 16, 2))
    group = Group(problem, probes, none, np.zeros(chains, int), [jax.random.key(0)], begin)
    run = group.begun(stage)
    for b in range(10):
        run, _ = swept(SimpleNamespace(stage=stage, run=sweep), group, b, run)
    means = [float(how.metric[0, 0, 0, 0]) for how in given]
    # sweeps 0 and 1 settle, 2 and 3 forget by halves, 4 to 7 add
    seen = 2 * 10.0 ** np.arange(8)
    early = (seen[1] / 2 + seen[2]) / 1.5
    assert means[:4] == pytest.approx([0.0, seen[0], seen[1], early])
    total, weight = (seen[1] / 2 + seen[2]) / 2 + seen[3], 1.5 / 2 + 1
    assert means[4:] == pytest.approx(
        [(total + seen[4 : 4 + k].sum()) / (weight + k) for k in range(5)] + [(total + seen[4:8].sum()) / (weight + 4)]
    )
    assert [bool(how.settle) for how in given] == [True] * 2 + [False] * 8
    assert [bool(how.adapt) for how in given] == [True] * 8 + [False] * 2
    # the place whose rates they go with moves in the warm-up only
    assert [float(how.reference[0, 0]) for how in given] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert float(run.chains.eta[0, 0]) == 10


def test_sources_move_in_noise_in_which_they_are_clear():
    """The median chain's light less the sky over 60, never below the last level nor above the first; then it stays."""
    stage, d, chains, sky = RenoiseConfig(warmup=4, last=0.1, first=2.0), 3, 3, -0.5
    light = np.array([[3.0, 4.0, 500.0], [10.0, 30.0, 60.0], [900.0, 999.0, 1.0]])
    given = []

    def sweep(keys, chain, which, how):
        given.append(np.asarray(how.gauge))
        x = sky + jnp.asarray(light.ravel() * len(given) / 4)[:, None, None] * jnp.ones((1, 4, 4)) / 4
        each, metric = jnp.ones((3 * chains, 2, 2)), jnp.ones((3 * chains, 2, 1, 1)) * jnp.eye(d)
        info = SweepInfo(each[:, 0, 0], each[:, 0], each, each[..., 0], each[..., 0], metric)
        return chain._replace(x=x), info

    begin = Chain(jnp.zeros((3 * chains, d)), jnp.zeros((3 * chains, 4, 4)), jnp.zeros((3 * chains, 0)))
    keys = [jax.random.key(k) for k in range(3)]
    group = Group(SimpleNamespace(sky=sky), jnp.zeros((3, 16, 2)), None, np.repeat(np.arange(3), chains), keys, begin)
    run = group.begun(stage)
    for b in range(6):
        run, _ = swept(SimpleNamespace(stage=stage, run=sweep), group, b, run)
    clear = [0.1, 0.5, 900 / 60]
    np.testing.assert_allclose(given[0], [0.1] * 3, rtol=1e-6)
    np.testing.assert_allclose(given[2], [0.1, 0.25, 2.0], rtol=1e-6)
    np.testing.assert_allclose(given[4], np.minimum(clear, 2.0), rtol=1e-6)
    np.testing.assert_array_equal(given[5], given[4])


def test_four_flights_of_five_are_to_end_well():
    angles = np.array([0.2, 0.2, 0.2, 0.02, 0.69])
    accepted = np.array([[0.7, 1.0, 0.3, 0.0, 1.0], [0.9, 1.0, 0.5, 0.0, 1.0]])
    steady, longer, shorter, least, most = steered(angles, accepted)
    assert steady == pytest.approx(0.2) and shorter < 0.2 < longer
    assert (least, most) == (0.02, 0.7)


@pytest.mark.slow
@pytest.mark.parametrize(("light", "noise_scale"), [("none", "infer"), ("mge", 1.0)])
def test_slopes_are_the_gradients_of_what_a_flight_is_accepted_on(light, noise_scale):
    """d f/d eta and d f/d x_t, C held, against derivatives of the evidence through the denoiser."""
    gaussian = tiny()
    x, lens, sigma = gaussian.sample(jax.random.key(0)), LensModel(("sie",)), jnp.asarray(0.3)
    (made,) = simulate(jax.random.key(1), np.asarray(10 * x)[None], lens, shape=(14, 14), pixel_scale=0.4, fov=3.0)
    config = RunConfig().replace(flux_scale="infer", source_fov=3.0, lens_light=light, noise_scale=noise_scale)
    problem, prior = build_problem(made.observation, Hidden(gaussian), lens, config, 3.0), Hidden(gaussian)
    eta = 0.3 * jax.random.normal(jax.random.key(3), (problem.space.size,))
    truth = lens.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    eta = eta.at[: truth.size].set(truth)
    # a part of the directions, so that C is not complete
    none = Mixture(jnp.zeros((0, eta.size)), jnp.zeros((0, eta.size, eta.size)), jnp.zeros(0))
    sampler = Renoise(problem, prior, jnp.linalg.qr(gaussian.basis)[0][:, :12], none, RenoiseConfig())
    x_t = x + sigma * jax.random.normal(jax.random.key(2), x.shape)
    a = jnp.zeros(0 if problem.light is None else problem.light_images(problem.params(eta)).shape[0])
    local = jax.jit(lambda x_t: local_gaussian(prior, x_t, sigma, sampler.probes, sampler.measurement(eta, a), 4))(x_t)

    def model(x_t):
        return Evidence(problem, local.directions * local.sd(sigma), prior(x_t, sigma))

    by_eta, by_x = jax.jit(jax.grad(lambda eta, x_t: model(x_t).log_posterior(eta), (0, 1)))(eta, x_t)
    ours = jax.jit(lambda *at: sampler.slopes(local, lambda x_t: prior(x_t, sigma), *at))(eta, x_t)
    np.testing.assert_allclose(ours.score, (prior(x_t, sigma) - x_t) / sigma**2, rtol=1e-5)
    np.testing.assert_allclose(ours.by_eta, by_eta, atol=2e-3 * float(jnp.abs(by_eta).max()))
    np.testing.assert_allclose(ours.by_x, by_x, atol=2e-3 * float(jnp.abs(by_x).max()))

    # control: as if the data saw x_t itself
    back = jax.jit(jax.grad(lambda D: Evidence(problem, model(x_t).basis, D).log_posterior(eta)))
    assert float(jnp.abs(back(prior(x_t, sigma)) - by_x).max()) > 0.1 * float(jnp.abs(by_x).max())


def test_a_metric_is_that_of_another_place_where_parameters_are_as_well_known():
    """From eta to natural coordinates at one place, back to eta at another: the precision of the parameter itself."""
    space = LensModel(("sie",)).space
    start = space.block("Rein")[1]
    here, there = jnp.zeros(space.size), jnp.zeros(space.size).at[start].set(1.5)
    known = 0.01  # the Einstein radius's standard deviation
    slope = lambda eta: jax.grad(lambda eta: space.from_normal(eta)["Rein"])(eta)[start]  # noqa: E731
    precision = jnp.eye(space.size).at[start, start].add((slope(here) / known) ** 2)
    held = data_precision(precision, space.rates(here))
    np.testing.assert_allclose(precision_at(held, space.rates(here)), precision, rtol=1e-5)
    moved = precision_at(held, space.rates(there))
    assert float(moved[start, start]) == pytest.approx(1 + float(slope(there) / known) ** 2, rel=1e-4)
    assert float(moved[start, start]) < 0.2 * float(precision[start, start])
    rest = np.delete(np.diag(np.asarray(moved)), start)
    np.testing.assert_allclose(rest, 1.0, atol=1e-6)


def test_a_metric_that_rounding_has_made_indefinite_is_one_all_the_same():
    """As of a chain near the end of a range, for one in the middle: errors there grow by the squared ratio of rates."""
    rates = jnp.array([1e-3, 0.4, 1.0])
    rounded = jnp.diag(jnp.array([1.0 - 1e-5, 1e6, 1.0]))  # by less than single precision loses beside 1e6
    held = data_precision(rounded, rates)
    moved = held * 0.16 + jnp.eye(3)
    assert not np.isfinite(np.asarray(jnp.linalg.cholesky(moved))).all()  # control
    precision = precision_at(held, jnp.full(3, 0.4))
    assert np.isfinite(np.asarray(jnp.linalg.cholesky(precision))).all()
    assert float(jnp.linalg.eigvalsh(precision)[0]) > 0.9
    assert float(precision[1, 1]) == pytest.approx(float(moved[1, 1]), rel=1e-4)


@pytest.mark.slow
def test_jumps_between_modes_leave_the_lens_given_the_noisy_source_as_it_is():
    """From chains that all begin on one side: shares, and the mean there, against importance sampling; what the modes
    do not have stays.
    """
    gaussian = tiny()
    x, lens, sigma = gaussian.sample(jax.random.key(0)), LensModel(("sie",)), jnp.asarray(0.3)
    system = {"shape": (14, 14), "pixel_scale": 0.4, "fov": 3.0, "sigma": 100.0}
    (made,) = simulate(jax.random.key(1), np.asarray(10 * x)[None], lens, **system)
    problem = build_problem(made.observation, gaussian, lens, RunConfig().replace(flux_scale="infer"), 3.0)
    truth = lens.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    d, rest = truth.size, problem.space.size - truth.size
    # what is jumped between are two sides of one wide top, which is as good
    side = jnp.zeros(d).at[0].set(0.7)
    modes = Mixture(jnp.stack([-side, side]), jnp.stack([0.8 * jnp.eye(d)] * 2), jnp.zeros(2)).padded(4)
    stage = RenoiseConfig(jumps=40)
    sampler = Renoise(problem, gaussian, jnp.linalg.qr(gaussian.basis)[0][:, :12], modes, stage)
    begin = jnp.append(-side, jnp.full(rest, 0.1))
    local = local_gaussian(gaussian, x, sigma, sampler.probes, sampler.measurement(begin, jnp.zeros(0)), 4)
    keys = jax.random.split(jax.random.key(5), 1500)
    ends, acceptance = jax.jit(lambda keys: jax.lax.map(lambda key: sampler.jumped(key, begin, local), keys))(keys)
    assert jnp.mean(acceptance) > 0.1 and rest > 0
    np.testing.assert_array_equal(ends[:, d:], jnp.broadcast_to(begin[d:], (len(ends), rest)))

    model = Evidence(problem, local.directions * local.sd(sigma), local.mean)
    drawn = jax.vmap(modes.sample)(jax.random.split(jax.random.key(6), 6000))

    def log_weight(part):
        return model.log_posterior(jnp.concatenate([part, begin[d:]])) - modes.log_density(part)

    w = np.asarray(jax.nn.softmax(jax.jit(lambda parts: jax.lax.map(log_weight, parts))(drawn)), float)
    for values in (lambda eta: eta[:, 0] > 0, lambda eta: eta[:, 4]):
        exact, ours = np.asarray(values(drawn), float), np.asarray(values(ends), float)
        mean = w @ exact
        error = np.hypot(np.sqrt(w**2 @ (exact - mean) ** 2), ours.std() / np.sqrt(len(ours)))
        assert abs(ours.mean() - mean) < 4 * error
    # control: nobody was on the other side, and by the modes' weights alone it would have half
    assert abs(w @ (drawn[:, 0] > 0) - 0.5) > 0.1
