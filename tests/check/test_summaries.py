"""A source in a few numbers: against sources of which they are known."""

import numpy as np
import pytest

from blindlens.check.summaries import source_summaries

N, FOV = 48, 2.4


def gaussian(x, y, width, flux=3.0):
    side = (np.arange(N) - (N - 1) / 2) * FOV / N
    image = np.exp(-((side[None] - x) ** 2 + (side[:, None] - y) ** 2) / (2 * width**2))
    return flux * image / image.sum() / (FOV / N) ** 2


def summaries(images, positions=((0.0, 0.0),), components=None):
    components = np.eye(N * N)[:, :2] if components is None else components
    return source_summaries(np.asarray(images), FOV, np.array(positions), np.zeros((N, N)), components)


def test_flux_centre_and_size_of_a_gaussian():
    found = summaries([gaussian(0.3, -0.2, 0.15)], [(0.05, 0.1)])
    assert found["flux"] == pytest.approx(3.0, rel=1e-6)
    assert found["centroid_x"] == pytest.approx(0.35, abs=1e-4) and found["centroid_y"] == pytest.approx(-0.1, abs=1e-4)
    assert found["r50"] == pytest.approx(0.15 * np.sqrt(2 * np.log(2)), abs=0.02)  # a pixel is 0.05


def test_components_are_coefficients():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(N * N, 3)))[0] * np.array([5.0, 2.0, 0.1])
    images = (basis @ np.array([1.5, -2.0, 0.7])).reshape(1, N, N)
    found = summaries(images, components=basis)
    assert [float(found[f"component_{i}"][0]) for i in range(3)] == pytest.approx([1.5, -2.0, 0.7])


def test_each_image_has_its_own_numbers_and_darkness_none():
    images = np.stack([gaussian(0.3, 0, 0.1), gaussian(-0.3, 0, 0.2), np.zeros((N, N))])
    found = summaries(images, np.zeros((3, 2)))
    assert np.sign(found["centroid_x"]).tolist() == [1, -1, 0] and found["r50"][1] > found["r50"][0]
    assert all(np.isfinite(values).all() for values in found.values())
