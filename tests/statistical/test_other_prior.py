"""The joint samplers for priors without a density, end to end, on a Gaussian one of which only the denoiser is seen.

The start is made with another Gaussian, twice as wide; only the denoiser can put that right.

python -m pytest -m slow tests/statistical/test_other_prior.py; some minutes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Hidden

from blindlens.check.convergence import ess, r_hat
from blindlens.config import RunConfig
from blindlens.inference import latent_run, oracle, renoise_run
from blindlens.inference.evidence import Evidence, climb
from blindlens.inference.initialise import initialise
from blindlens.inference.pipeline import infer
from blindlens.inference.problem import Problem, build_problem
from blindlens.inference.scales import image_scales
from blindlens.inference.stages import Store
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.prior import GaussianPrior
from blindlens.progress import Progress

LENS, FOV = LensModel(("sie",), ranges={"Rein": (0.8, 1.5)}), 3.0
SIGMA = 8.0
CONFIG = RunConfig().replace(
    flux_scale=1.0,
    source_fov=FOV,
    trim=False,
    chains=4,
    draws=400,
    initialise={"draws": 200, "starts": 4, "steps": 40, "rank": 8, "tail": 1e-9, "most_rank": 64},
    renoise={"warmup": 20, "steps": 20, "rank": 64, "unseen": 0, "krylov": 0},
    latent={"warmup": 20, "steps": 16},
)


def gaussian(width: float) -> GaussianPrior:
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 3.0)
    sd = width * (0.1 + 0.4 * np.exp(-r / 0.35))
    return GaussianPrior.from_profiles(8, r, np.exp(-r / 0.3), sd, k, 1 / (1 + k**2), 10.0, 0.0, "tiny", delta=0.02)


def begun(observation, prior, config: RunConfig) -> Problem:
    """What is sampled; with the source's field free where its brightness is."""
    problem = build_problem(observation, prior, LENS, config, FOV)
    return problem if config.flux_scale != "infer" else problem.with_free_field(image_scales(observation, config))


def sampled(
    observation, prior: Hidden, surrogate: GaussianPrior, method: str, config: RunConfig = CONFIG
) -> np.ndarray:
    """(draws, d + 1): normal coordinates and the source's mean brightness."""
    progress = Progress()
    start = initialise(jax.random.key(3), observation, surrogate, LENS, config, progress)
    full = Evidence(build_problem(observation, prior, LENS, config, FOV), start.informed.basis, surrogate.mean)
    size = (config.chains, config.draws)
    probes = renoise_run.probes(full, start, config.renoise)
    system = renoise_run.System(jax.random.key(4), full, begun(observation, prior, config), start, probes)
    if method == "latent":
        (draws,) = latent_run.sample([system], prior, *size, config, Store(None, ""), progress)
    else:
        (draws,) = renoise_run.sample([system], prior, *size, config.renoise, Store(None, ""), progress)
    print({name: np.round(np.mean(values), 2) for name, values in draws.stats.items() if "acceptance" in name})
    values = np.concatenate([np.asarray(draws.eta), np.asarray(draws.x).mean((2, 3))[..., None]], -1)
    for name, statistic in (("r_hat", r_hat), ("ess", ess)):
        print(name, np.round([statistic(values[..., k]) for k in range(values.shape[-1])], 2))
    return values.reshape(-1, values.shape[-1])


def exact(observation, prior: GaussianPrior) -> np.ndarray:
    """The same by the oracle."""
    posterior = infer(observation, prior, LENS, CONFIG.replace(method="evidence", draws=250))
    eta = LENS.space.to_normal({name: jnp.asarray(posterior.lens[name].values.ravel()) for name in LENS.space.names})
    x = posterior.source.values.reshape(-1, 64).mean(1) / 10
    return np.concatenate([np.asarray(eta), x[:, None]], 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["renoise", "latent"])
def test_the_denoiser_alone_gives_the_posterior_of_its_prior(method):
    true, surrogate = gaussian(1.0), gaussian(2.0)
    x = true.sample(jax.random.key(0), (1,))
    (made,) = simulate(
        jax.random.key(2), np.asarray(10 * x), LENS, shape=(14, 14), pixel_scale=0.4, fov=FOV, sigma=SIGMA
    )
    wanted = exact(made.observation, true)
    sd = wanted.std(0)

    def compare(draws):
        return (draws.mean(0) - wanted.mean(0)) / sd, draws.std(0) / sd

    shift, ratio = compare(sampled(made.observation, Hidden(true), surrogate, method))
    print("shift [sd]", np.round(shift, 2), "width ratio", np.round(ratio, 2))
    assert np.abs(shift).max() < 0.25
    assert ratio.min() > 0.85 and ratio.max() < 1.15
    # control: another prior's denoiser gives another posterior (that of one twice as wide, by a third)
    shift, ratio = compare(sampled(made.observation, Hidden(gaussian(3.0)), surrogate, method))
    print("control: shift [sd]", np.round(shift, 2), "width ratio", np.round(ratio, 2))
    assert np.abs(shift).max() > 0.5 or ratio.max() > 1.3


FREE = CONFIG.replace(flux_scale="infer")


def exact_free(observation, prior: GaussianPrior, truth: dict[str, float]) -> np.ndarray:
    """The same where brightness and field of the source are free too: the oracle's particles from the mode there."""
    problem = begun(observation, prior, FREE)
    B = np.asarray(prior.basis, float)
    E = B / np.linalg.norm(B, axis=0)
    left = np.linalg.svd(np.eye(64) - E @ E.T)[0][:, : 64 - B.shape[1]]
    basis = jnp.asarray(np.concatenate([B, prior.delta * left], 1), jnp.float32)
    evidence = Evidence(problem, basis, prior.mean)
    known = {name: jnp.asarray(value) for name, value in truth.items() if name in problem.space.names}
    eta = problem.space.to_normal(known | {"flux_scale": jnp.asarray(1.0), "source_fov": jnp.asarray(FOV)})
    mode = climb(evidence, eta, 30)
    modes = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], mode)
    lens_key, source_key = jax.random.split(jax.random.key(5))
    eta, _ = oracle.sample_lens(lens_key, evidence, oracle.covering(evidence, modes), 1000, 6)
    x, _ = oracle.sources(evidence, jax.random.split(source_key, len(eta)), eta)
    return np.concatenate([np.asarray(eta), np.asarray(x).reshape(len(eta), -1).mean(1)[:, None]], 1)


@pytest.mark.slow
def test_so_it_does_where_the_sources_brightness_and_field_are_free():
    """Sources that grow with their field are no symmetry of this prior, whose sources have a size."""
    true, surrogate = gaussian(1.0), gaussian(2.0)
    x = true.sample(jax.random.key(0), (1,))
    (made,) = simulate(
        jax.random.key(2), np.asarray(10 * x), LENS, shape=(14, 14), pixel_scale=0.4, fov=FOV, sigma=SIGMA
    )
    wanted = exact_free(made.observation, true, made.truth)
    sd = wanted.std(0)
    for prior, wrong in ((true, False), (gaussian(3.0), True)):
        draws = sampled(made.observation, Hidden(prior), surrogate, "renoise", FREE)
        shift, ratio = (draws.mean(0) - wanted.mean(0)) / sd, draws.std(0) / sd
        print("control" if wrong else "", "shift [sd]", np.round(shift, 2), "width ratio", np.round(ratio, 2))
        right = np.abs(shift).max() < 0.25 and ratio.min() > 0.85 and ratio.max() < 1.15
        assert right != wrong
