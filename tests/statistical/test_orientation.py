"""The same sky gives the same answer, however the camera was held: image, PSF and WCS turned and mirrored together."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from blindlens.config import RunConfig
from blindlens.inference.pipeline import infer
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import simulate
from blindlens.physics import derived
from blindlens.prior import GaussianPrior

FOV, SCALE = 3.0, 0.15
HELD = {  # how an image is turned, and the old pixel axes in terms of the new ones
    "as it was": (lambda a: a, np.eye(2)),
    "90": (lambda a: np.rot90(a, 1), np.array([[0, -1], [1, 0]])),
    "180": (lambda a: np.rot90(a, 2), -np.eye(2)),
    "270": (lambda a: np.rot90(a, 3), np.array([[0, 1], [-1, 0]])),
    "mirrored": (np.fliplr, np.diag([-1, 1])),
}


@pytest.fixture(scope="module")
def answers():
    """For every way to hold the camera: angles on the sky, the Einstein radius, and phi in the image."""
    r, k = np.linspace(0, 1.5, 40), np.arange(0, 6.0)
    prior = GaussianPrior.from_profiles(
        12, r, 0.5 * np.exp(-r / 0.3), 0.05 + 0.3 * np.exp(-r / 0.4), k, 1 / (1 + k) ** 2, 10.0, 0.1, "test"
    )
    lens = LensModel(("sie", "shear"))
    p = {"x0": 0.05, "y0": -0.1, "q": 0.7, "phi": 0.5, "Rein": 1.2, "gamma_1": 0.05, "gamma_2": -0.03}
    p |= {"xs": 0.1, "ys": 0.05}
    x = 10.0 * prior.sample(jax.random.key(0), (1,)) + 0.1
    (made,) = simulate(
        jax.random.key(1), np.asarray(x), lens, shape=(28, 28), pixel_scale=SCALE, fov=FOV, psf_fwhm=0.3,
        params={name: np.array([value]) for name, value in p.items()},
    )  # fmt: skip
    slanted = np.array([[0.6, 0.8, 0.3], [0.1, 1.0, 0.2], [0.0, 0.3, 0.1]])  # a PSF that is not symmetric
    kernel = made.observation.psf * np.pad(slanted, (np.array(made.observation.psf.shape)[0] - 3) // 2, "edge")
    degrees = SCALE / 3600 * np.array([[-1.0, 0.0], [0.0, 1.0]])  # east left, north up
    found = {}
    for name, (turned, axes) in HELD.items():
        cd = degrees @ axes
        cards = {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": 150.0,
            "CRVAL2": 2.0,
            "CRPIX1": 14.5,
            "CRPIX2": 14.5,
        }
        cards |= {f"CD{i + 1}_{j + 1}": float(cd[i, j]) for i in range(2) for j in range(2)}
        o = made.observation
        seen = replace(
            o, image=turned(o.image), noise=turned(o.noise), mask=turned(o.mask), psf=turned(kernel), header=cards
        )
        config = RunConfig(method="evidence", chains=2, draws=64, trim=False).replace(
            source_fov=FOV, flux_scale=1.0, lens={"mass": ("sie", "shear")}
        )
        posterior = infer(seen, prior=prior, config=config)
        values = derived(posterior)["values"]
        rows = {
            key: (values[key]["mean"], values[key]["sd"]) for key in ("mass_position_angle", "shear_position_angle")
        }
        row = posterior.summary()["parameters"]
        rows |= {key: (row[key]["mean"], row[key]["sd"]) for key in ("Rein", "q", "phi")}
        found[name] = rows
    return found


def apart(a: float, b: float, period: float | None) -> float:
    return abs(a - b) if period is None else abs((a - b + period / 2) % period - period / 2)


@pytest.mark.slow
@pytest.mark.parametrize("how", list(HELD)[1:])
def test_the_sky_does_not_turn_with_the_camera(answers, how):
    """128 exact draws each: means agree within five of their errors, and phi in the image does not."""
    was, turned = answers["as it was"], answers[how]
    for name, period in (("mass_position_angle", 180), ("shear_position_angle", 180), ("Rein", None), ("q", None)):
        error = np.hypot(was[name][1], turned[name][1]) / np.sqrt(128)
        assert apart(was[name][0], turned[name][0], period) < 5 * error, name
    if how != "180":  # control, judged by the same errors
        error = np.hypot(was["phi"][1], turned["phi"][1]) / np.sqrt(128)
        assert apart(was["phi"][0], turned["phi"][0], np.pi) > 10 * error
