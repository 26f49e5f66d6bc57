"""A posterior made of a true lens, a clumpy source and invented draws, for all that comes after sampling; a prior."""

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.config import RunConfig
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.lens.simulate import System, simulate
from blindlens.observation import Observation
from blindlens.posterior import Posterior
from blindlens.prior import Denoiser, GaussianPrior
from blindlens.progress import Progress

TRUTH = {
    "x0": 0.05,
    "y0": -0.03,
    "q": 0.75,
    "phi": 0.01,
    "Rein": 1.5,
    "t": 1.05,
    "gamma_1": 0.03,
    "gamma_2": -0.02,
    "a_3": 0.004,
    "phi_3": 0.3,
    "xs": 0.12,
    "ys": 0.08,
}


class Hidden(Denoiser):
    """A Gaussian prior of which only the denoiser can be seen."""

    gaussian: GaussianPrior
    n: int = 8
    scale: float = 10.0
    offset: float = 0.0
    name: str = "hidden"

    def __call__(self, x_t, sigma):
        return self.gaussian(x_t, sigma)

    def sample(self, key, shape=()):
        return self.gaussian.sample(key, shape)


def blob(n: int, fov: float, x: float, y: float, width: float) -> np.ndarray:
    side = (np.arange(n) - (n - 1) / 2) * fov / n
    return np.exp(-((side[None] - x) ** 2 + (side[:, None] - y) ** 2) / (2 * width**2))


def make_posterior(seed=0, draws=100, chains=4, shape=(80, 80), fixed=(), lens_light=False, spread=0.0) -> Posterior:
    """Draws scattered round TRUTH; `fixed` parameters do not scatter; `spread` moves the chains apart (in sd)."""
    rng = np.random.default_rng(seed)
    n, fov, scale, sigma = 48, 2.4, 0.08, 0.05
    source = 2 * blob(n, fov, 0, 0, 0.15) + blob(n, fov, 0.3, 0.2, 0.06) + 0.6 * blob(n, fov, -0.35, 0.1, 0.05)
    psf = blob(7, 7 * scale, 0, 0, 0.09)
    operator = LensOperator(LensModel(), shape, scale, n, fov, psf / psf.sum())
    params = {name: jnp.asarray(value) for name, value in TRUTH.items()}
    arcs = np.asarray(jax.jit(lambda x: operator(params) @ x)(jnp.asarray(source, jnp.float32)), float)
    mask = np.ones(shape, bool)
    mask[10:16, 60:72] = False
    noise = np.full(shape, sigma)
    noise[70:73, 5:8] = 1e16
    grid = Observation(arcs, noise, psf, mask, scale)
    light = 8 * np.exp(-np.hypot(*grid.coordinates()) / 0.4) if lens_light else 0 * arcs
    image = arcs + light + sigma * rng.normal(size=shape)
    observation = Observation(image, noise, psf, mask, scale, name="fake lens")
    scatter = {"phi": 0.02, "phi_3": 0.2, "a_3": 5e-4}
    lens = {
        name: value
        + (0.0 if name in fixed else scatter.get(name, 0.004))
        * (rng.normal(size=(chains, draws)) + spread * rng.normal(size=(chains, 1)))
        for name, value in TRUTH.items()
    }
    lens["phi"] = lens["phi"] % np.pi
    error = rng.normal(size=(chains, draws, n, n)) * (0.05 + 0.1 * source)
    stats = {"chi2_per_pixel": 1 + 0.01 * rng.normal(size=(chains, draws))}
    attrs = {
        "config": {"draws": draws},
        "priors": {name: prior._asdict() for name, prior in LensModel().space.priors().items()},
        "source_fov": fov,
        "seed": seed,
        "prior": "galaxy-gaussian",
        "times": {"initialise": 11.0, "sample": 95.5},
        "warnings": [],
    }
    model = {"image": arcs + light} | ({"lens_light": light} if lens_light else {})
    return Posterior.from_draws(lens, source + error, stats, observation, model, attrs)


TINY_RANGES = {"Rein": (0.8, 1.5)}
TINY_LENS = LensModel(("sie",), ranges=TINY_RANGES)
TINY_CONFIG = RunConfig().replace(
    flux_scale=1.0,
    source_fov=3.0,
    chains=2,
    trim=False,
    interpolation="bilinear",
    supersampling=1,
    initialise={"draws": 100, "starts": 3, "steps": 20, "polish_steps": 5, "keep": 2, "rank": 8, "most_rank": 40},
)
"""Of runs on the tiny system."""


SMALL_SYSTEMS = {
    "source_pixels": 12,
    "pixels": 18,
    "pixel_scale": 0.36,
    "source_fov": 3.0,
    "psf_fwhm": 0.36,
    "noise": 1.0,
}
SMALL_RUN = {
    "trim": False,
    "supersampling": 2,
    "chains": 4,
    "lens": {"ranges": {"Rein": (0.8, 1.5), "xs": (-0.2, 0.2), "ys": (-0.2, 0.2)}},
    "initialise": {"draws": 400, "starts": 8, "steps": 60, "most_rank": 128, "tail": 1e-9},
}
"""Of studies of coverage: systems with all 12 parameters, small enough for hundreds of them."""


def interrupting(after: int) -> Progress:
    """A Progress that presses Ctrl-C when more than `after` blocks of sweeps are done."""

    class Interrupting(Progress):
        @contextmanager
        def stage(self, name, total):
            with super().stage(name, total) as bar:
                advance = bar.advance

                def counted(n=1, **figures):
                    advance(n, **figures)
                    if name == "sample" and bar.done > after:
                        raise KeyboardInterrupt

                bar.advance = counted
                yield bar

    return Interrupting()


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    """Each takes memory maps, of which a process has 65530 by default; all tests in one process ran out of them."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def tiny_system() -> tuple[System, GaussianPrior]:
    """14 x 14 pixels of an isothermal ellipsoid before a source of 8 x 8 pixels, 3 arcsec wide; its Gaussian prior."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 3.0)
    prior = GaussianPrior.from_profiles(
        8, r, np.exp(-r / 0.3), 0.1 + 0.5 * np.exp(-r / 0.35), k, 1 / (1 + k**2), 10.0, 0.0, "tiny"
    )
    sources = np.asarray(10 * prior.sample(jax.random.key(0), (1,)))
    (made,) = simulate(jax.random.key(2), sources, TINY_LENS, shape=(14, 14), pixel_scale=0.4, fov=3.0, sigma=1.0)
    return made, prior


@pytest.fixture(scope="session")
def posterior() -> Posterior:
    return make_posterior()
