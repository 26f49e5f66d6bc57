"""White residuals pass; each kind of misfit is named."""

import numpy as np
import pytest
from conftest import make_posterior

from blindlens.check.residuals import neighbour_correlation, normalised_residual, residual_notes, residual_warnings


def spoiled(change):
    posterior = make_posterior(draws=4, chains=1)
    model = posterior.tree["model"]["image"]
    noise = posterior.image("noise")
    model.values[...] = change(model.values, noise, posterior.image("image"))
    return posterior


def test_white_noise_raises_nothing():
    for seed in range(3):
        posterior = make_posterior(seed=seed, draws=4, chains=1)
        assert residual_warnings(posterior) == []
        residual = normalised_residual(posterior)
        assert np.isnan(residual[12, 65]) and np.isnan(residual[71, 6])
        assert np.nanstd(residual) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, s, y: m + 2 * s * np.random.default_rng(5).normal(size=m.shape), "does not explain"),
        (lambda m, s, y: y + 0.5 * (m - y), "too large"),
        (lambda m, s, y: m + 0.3 * s * np.sign(np.sin(np.arange(80) / 4)), "neighbouring"),
        (lambda m, s, y: m + 10 * s * (np.arange(m.size).reshape(m.shape) == 2000), "1 of 6319 pixels"),
    ],
)
def test_misfits_are_named(change, words):
    assert words in " ".join(residual_warnings(spoiled(change)))


def test_resampled_noise_is_noted_and_structure_warned_of():
    """Noise smoothed by resampling under a map that allows for it; the same pattern under a map that does not."""
    noise = np.random.default_rng(1).normal(size=(81, 81))
    smooth = (noise[1:, 1:] + noise[1:, :-1] + noise[:-1, 1:] + noise[:-1, :-1]) / 2
    drizzled, wrong = (spoiled(lambda m, s, y, size=size: y - size * s * smooth) for size in (0.7, 1.2))
    assert residual_warnings(drizzled) == [] and "drizzled" in residual_notes(drizzled)[0]
    assert "neighbouring" in " ".join(residual_warnings(wrong)) and residual_notes(wrong) == []


def test_neighbour_correlation_is_calibrated():
    rng = np.random.default_rng(0)
    z = []
    for _ in range(300):
        noise = rng.normal(size=(40, 40))
        noise[5:9, 3:20] = np.nan
        r, sd = neighbour_correlation(noise)
        z.append(r / sd)
    assert abs(np.mean(z)) < 0.25 and np.std(z) == pytest.approx(1, abs=0.15)
    smooth = (noise[1:] + noise[:-1]) / np.sqrt(2)
    assert neighbour_correlation(smooth)[0] > 0.2
