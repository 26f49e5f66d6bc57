"""The source alone for a known lens, and the paper's joint sampler, on a tiny system with a Gaussian prior."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY_CONFIG, TINY_LENS

from blindlens.config import GibbsDDRMConfig, RunConfig
from blindlens.errors import BlindlensError
from blindlens.inference.evolution import evolution
from blindlens.inference.gibbsddrm import GibbsDDRM
from blindlens.inference.pipeline import infer
from blindlens.inference.problem import build_problem, condition
from blindlens.sampler.schedule import Schedule

CONFIG = TINY_CONFIG.replace(draws=3)


DRAWS = 200


@pytest.fixture(scope="module")
def known(tiny_system, tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "lens.json"
    path.write_text(json.dumps(tiny_system[0].truth))
    return path


def exact_source(tiny_system):
    """Mean (64,) and covariance of x | l, y at the true lens."""
    made, prior = tiny_system
    problem = build_problem(made.observation, prior, TINY_LENS, CONFIG, 3.0)
    eta = TINY_LENS.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    _, c, L = condition(*problem.system(eta, prior.basis, prior.mean))
    basis, L = np.asarray(prior.basis, np.float64), np.asarray(L, np.float64)
    half = np.linalg.solve(L, basis.T)
    return np.asarray(prior.mean).ravel() + basis @ np.asarray(c), half.T @ half


def widths_and_means(tiny_system, known, **guidance):
    """Of many draws, in the leading directions of the exact posterior: sd over the exact one, |mean - exact| / sd."""
    made, prior = tiny_system
    stage = {"guidance": guidance, "steps": 80, "batch": DRAWS}
    config = CONFIG.replace(lens_params=known, chains=1, draws=DRAWS, source=stage)
    x = infer(made.observation, prior, TINY_LENS, config).source.values.reshape(DRAWS, -1) / 10
    mean, covariance = exact_source(tiny_system)
    lam, E = np.linalg.eigh(covariance)
    z = (x - mean) @ E[:, -6:] / np.sqrt(lam[-6:])
    return z.std(0), z.mean(0)


@pytest.mark.slow
def test_mmps_draws_the_exact_posterior_of_the_source(tiny_system, known):
    width, off = widths_and_means(tiny_system, known, method="mmps", cg_steps=15)
    assert np.abs(width - 1).max() < 4 / np.sqrt(2 * DRAWS)
    assert np.abs(off).max() < 4 / np.sqrt(DRAWS)
    # control: the paper's r_t^2 in model units is far too cautious
    width, _ = widths_and_means(tiny_system, known, method="pigdm", variance="eq12-model")
    assert np.abs(width - 1).max() > 8 / np.sqrt(2 * DRAWS)


@pytest.mark.slow
def test_a_known_lens_stays_as_it_is_and_draws_do_not_depend_on_the_batch(tiny_system, known):
    made, prior = tiny_system
    config = CONFIG.replace(lens_params=known, source={"steps": 20, "batch": 1})
    one = infer(made.observation, prior, TINY_LENS, config)
    for name, value in made.truth.items():
        np.testing.assert_allclose(one.lens[name].values, value, rtol=1e-4, atol=1e-4)
    all_at_once = infer(made.observation, prior, TINY_LENS, config.replace(source={"steps": 20, "batch": 8}))
    np.testing.assert_allclose(one.source.values, all_at_once.source.values, rtol=1e-3, atol=1e-3)


def test_a_known_lens_must_be_known_whole(tiny_system, tmp_path):
    made, prior = tiny_system
    path = tmp_path / "part.yaml"
    path.write_text("{Rein: 1.2, q: 0.8, phi: 0.3}")
    with pytest.raises(BlindlensError, match="one whole set of lens parameters; x0 is missing"):
        infer(made.observation, prior, TINY_LENS, CONFIG.replace(lens_params=path))


def sampler(tiny_system, **stage) -> GibbsDDRM:
    made, prior = tiny_system
    problem = build_problem(made.observation, prior, TINY_LENS, CONFIG, 3.0)
    config = GibbsDDRMConfig.from_mapping({"steps": 30, "walk": 20, **stage})
    probes = jnp.linalg.qr(prior.basis[:, :5])[0] if config.covariance == "network" else jnp.zeros((64, 0))
    return GibbsDDRM(problem, prior, probes, Schedule(), config)


@pytest.mark.slow
def test_a_draw_seen_on_its_way_is_the_draw(tiny_system):
    made, _ = tiny_system
    eta = TINY_LENS.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    method, key = sampler(tiny_system, steps=11, walk=3), jax.random.key(4)
    whole, seen = method.run(key[None], eta[None]), evolution(key, method, eta, 4)
    np.testing.assert_allclose(seen.mean[-1], whole.x[0], atol=1e-4 * float(jnp.abs(whole.x).max()))
    np.testing.assert_allclose(seen.eta[-1], whole.eta[0], atol=1e-4)
    # eleven steps in four parts: 3, 6 (as 5.5 is rounded), 8 and 11 of them
    np.testing.assert_allclose(seen.t, 1 - np.array([3, 6, 8, 11]) / 11, atol=1e-12)
    # control: another key is another draw
    other = evolution(jax.random.key(5), method, eta, 4)
    assert float(jnp.abs(other.mean[-1] - whole.x[0]).max()) > 0.01 * float(jnp.abs(whole.x).max())


def draws(tiny_system, count=4, **stage):
    made, _ = tiny_system
    method = sampler(tiny_system, **stage)
    eta = TINY_LENS.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    keys = jax.random.split(jax.random.key(0), 4)[:count]
    return method, method.run(keys, jnp.tile(eta, (count, 1)))


def test_the_lens_moves_within_the_window_alone(tiny_system):
    method, drawn = draws(tiny_system, window=(0.7, 0.2))
    path, t = np.asarray(drawn.path), np.linspace(1, 0, 31)[1:]
    moves = np.abs(np.diff(path, axis=1)).max(-1) > 0
    inside = (t <= 0.7) & (t >= 0.2)
    assert moves[:, inside[1:]].all() and not moves[:, ~inside[1:]].any()
    assert method.active().sum() == inside.sum()
    # the last of the path is the draw
    np.testing.assert_allclose(method.box.vector(drawn.eta), path[:, -1], rtol=1e-4, atol=1e-4)
    assert drawn.finite.all()


def test_draws_do_not_depend_on_their_number(tiny_system):
    np.testing.assert_allclose(draws(tiny_system)[1].x[:2], draws(tiny_system, count=2)[1].x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("covariance", ["none", "network"])
def test_the_walk_is_on_the_stated_density(tiny_system, covariance):
    """Differences of log N(y; A_l x^, Sigma [+ A V A^T]) between two lenses, against dense algebra in double precision;
    control: without V.
    """
    made, prior = tiny_system
    method = sampler(tiny_system, covariance=covariance)
    x_t, sigma = prior.mean + 0.3 * jax.random.normal(jax.random.key(1), (8, 8)), jnp.asarray(0.3)
    x, B = method.seen(x_t, sigma)
    np.testing.assert_allclose(x, prior(x_t, sigma), rtol=1e-5)
    V = np.asarray(B, np.float64) @ np.asarray(B, np.float64).T
    E = np.asarray(method.probes, np.float64)
    if covariance == "network":
        # sigma^2 dD/dx_t in the given directions
        columns = jax.vmap(lambda e: (prior(x_t + 1e-2 * e.reshape(8, 8), sigma) - x).ravel() / 1e-2)(method.probes.T)
        np.testing.assert_allclose(E.T @ V @ E, sigma**2 * E.T @ np.asarray(columns).T, atol=1e-3 * float(sigma) ** 2)
    truth = TINY_LENS.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    lenses = [method.box.vector(truth + shift) for shift in (0.0, 0.05)]

    def dense(v: jax.Array, with_V: bool) -> float:
        A, y = method.problem.measurement(method.box.params(v))
        A, y = np.asarray(A.dense(), np.float64), np.asarray(y, np.float64).ravel()
        C = np.eye(len(y)) + (A @ V @ A.T if with_V else 0)
        r = y - A @ np.asarray(x, np.float64).ravel()
        return -(r @ np.linalg.solve(C, r) + np.linalg.slogdet(C)[1]) / 2

    ours = np.diff([float(method.log_density(v, x, B)) for v in lenses])[0]
    exact, other = (np.diff([dense(v, with_V) for v in lenses])[0] for with_V in (True, False))
    assert abs(ours - exact) < 1e-3 * abs(exact)
    if covariance == "network":
        assert abs(ours - other) > 0.05 * abs(exact)


@pytest.mark.slow
def test_the_paper_method_end_to_end(tiny_system, tmp_path):
    made, prior = tiny_system
    stage = {"steps": 40, "walk": 20, "size": 1e-5, "redraw": {"steps": 40}}
    stage["refine"] = {"warmup": 40, "marginal": 5, "precondition": True}
    config = CONFIG.replace(method="gibbsddrm", gibbsddrm=stage)
    posterior = infer(made.observation, prior, TINY_LENS, config, out=tmp_path)
    assert posterior.source.shape == (2, 3, 8, 8)
    assert abs(posterior.mean()["Rein"] - made.truth["Rein"]) < 0.05
    assert {"refused", "residual", "divergent"} <= set(posterior.tree["sample_stats"].data_vars)
    marginal = posterior.tree["marginal"].to_dataset()
    assert dict(marginal.sizes) == {"source_draw": 6, "lens_draw": 5}
    parts = posterior.attrs["variances"]["Rein"]
    assert parts["total"] == pytest.approx(parts["within"] + parts["between"])
    assert parts["total"] == pytest.approx(marginal["Rein"].values.var(), rel=1e-4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gibbsddrm": {"window": [0.2, 0.7]}}, "window must fall"),
        ({"gibbsddrm": {"end": False, "refine": {"marginal": 5}}}, "marginal needs the Gibbs sweep"),
        ({"gibbsddrm": {"redraw": {"solve": "spectral", "guidance": {"method": "cla"}}}}, "a lens that is known"),
        ({"source": {"solve": "spectral"}}, "spectral is for cla and pigdm, not for mmps"),
        ({"source": {"guidance": {"zeta": 1.0}}}, "zeta is for dps, not for mmps"),
        ({"lens_params": "l.yaml", "method": "gibbsddrm"}, "leave method gibbsddrm out"),
        ({"lens_params": "l.yaml", "initialise": {"method": "sersic-adam"}}, "no lens to look for"),
        ({"lens_params": "l.yaml", "lens_light": "mge"}, "a known lens goes without lens light"),
        ({"method": "gibbsddrm", "lens_light": "mge"}, "gibbsddrm goes without lens light"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(values, words):
    with pytest.raises(BlindlensError, match=words):
        RunConfig.from_mapping(values)
