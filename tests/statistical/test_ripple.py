"""log p(y | l) must not ripple with the source's grid: half a nat at the period of a source pixel, docs/ripple.md."""

import importlib.util
from pathlib import Path

import pytest

from blindlens.config import RunConfig
from blindlens.prior import load_prior

_spec = importlib.util.spec_from_file_location("ripple", Path(__file__).parents[2] / "benchmarks" / "ripple.py")
ripple = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ripple)

pytestmark = pytest.mark.slow
DEFAULT_RAYS = RunConfig().supersampling


def periods(index: int, npix: int, rays: int, source: int) -> list[float]:
    """Ripple of one source pixel's period along xs and ys alone, nats."""
    _, system = ripple.make(index, npix)
    evidence, truth, _ = ripple.build(system, load_prior("galaxy-gaussian", source), rays)
    lines, _ = ripple.lines(evidence, truth, alone=True)
    return [ripple.period(line.offsets, line.values) for line in lines]


def test_control_one_ray_at_32_pixels_ripples():
    assert max(periods(2, 32, 1, 32)) > 2


@pytest.mark.parametrize("index", [0, 3])
def test_a_source_grid_twice_finer_does_not_ripple(index):
    assert max(periods(index, 64, DEFAULT_RAYS, 128)) < 0.5


@pytest.mark.xfail(reason="bilinear interpolation on 64 source pixels ripples with any number of rays", strict=True)
def test_default_rays_do_not_ripple_on_64_source_pixels():
    assert max(periods(0, 64, DEFAULT_RAYS, 64)) < 0.5
