"""log p(y | l) stays within half a nat of a smooth curve over +-5 sd of every lens parameter, docs/ripple.md."""

import importlib.util
from pathlib import Path

import pytest

from blindlens.config import RunConfig
from blindlens.inference.problem import rays
from blindlens.prior import load_prior

_spec = importlib.util.spec_from_file_location("ripple", Path(__file__).parents[2] / "benchmarks" / "ripple.py")
ripple = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ripple)
ripple.POINTS = 21

pytestmark = pytest.mark.slow
DEFAULT = RunConfig()
RAYS, CORE = rays(DEFAULT, 12 / 64, 6.24 / 64, 40)


def worst(index: int, npix: int, per_side: int, interpolation: str, alone: bool, core: int | None = None) -> float:
    """Largest departure from a smooth curve along the ridges of the 12 lens parameters, or xs and ys alone, nats."""
    _, system = ripple.make(index, npix)
    evidence, truth, _ = ripple.build(
        system, load_prior("galaxy-gaussian", npix), per_side, interpolation=interpolation
    )
    lines, _ = ripple.lines(evidence, truth, alone)
    return max(line.ripple for line in lines if line.name.endswith("alone") == alone)


@pytest.mark.parametrize("alone, least", [(False, 0.5), (True, 2.0)])
def test_control_bilinear_with_one_ray_at_32_pixels_ripples(alone, least):
    assert worst(0, 32, 1, "bilinear", alone) > least


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_default_does_not_ripple_along_the_ridges(index):
    assert worst(index, 64, RAYS, DEFAULT.interpolation, alone=False, core=CORE) < 0.5


def test_default_with_the_source_moved_alone():
    assert worst(1, 64, RAYS, DEFAULT.interpolation, alone=True, core=CORE) < 0.5
