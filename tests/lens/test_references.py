"""Deflections and images against caustics and lenstronomy: stored arrays always, live where these are installed."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.lens.light import sersic
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator

HERE = Path(__file__).parent.parent / "references"
PROGRAMS = [("caustics", 1), ("lenstronomy", 2)]  # and the rays per pixel and side of its images


@pytest.fixture(scope="module")
def reference():
    return np.load(HERE / "lens.npz")


def relative_rms(a, b):
    return np.sqrt(np.mean((np.asarray(a, float) - b) ** 2) / np.mean(np.asarray(b, float) ** 2))


def lens(reference, k):
    return {str(n): jnp.asarray(v) for n, v in zip(reference["names"], reference["lenses"][k], strict=True)}


def compared(image, program):
    """caustics lights the border from beyond the image, blindlens and lenstronomy do not."""
    return image[4:-4, 4:-4] if program == "caustics" else image


def operator(reference, supersampling):
    return LensOperator(LensModel(), (64, 64), float(reference["pixel_scale"]), 64, float(reference["fov"]),
                        reference["psf"], supersampling=supersampling)  # fmt: skip


@pytest.mark.parametrize(("x64", "tolerance"), [(False, 5e-7), (True, 1e-11)])
@pytest.mark.parametrize("program", ["caustics", "lenstronomy"])
def test_deflections(reference, program, x64, tolerance):
    with jax.enable_x64(x64):
        model, (x, y) = LensModel(), jnp.asarray(reference["rays"])
        alpha = np.stack([jnp.stack(model.deflection(lens(reference, k), x, y)) for k in range(16)])
        assert relative_rms(alpha, reference[f"{program}_deflection"]) < tolerance
        wrong = {**lens(reference, 0), "q": lens(reference, 0)["q"] + 1e-4}
        assert relative_rms(jnp.stack(model.deflection(wrong, x, y)), reference[f"{program}_deflection"][0]) > 1e-6


# Stored images are float32, and caustics builds its grid in float32: hence no more than 5e-7 in float64.
@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(("program", "supersampling"), PROGRAMS)
def test_images_of_a_pixelated_source(reference, program, supersampling, x64):
    with jax.enable_x64(x64):
        A, source = operator(reference, supersampling), jnp.asarray(reference["pixel_source"])
        source = source.astype(A.rays[0].x.dtype)
        for k in range(2):
            image = A(lens(reference, k)) @ source
            expected = reference[f"{program}_pixels"][k]
            assert relative_rms(compared(image, program), compared(expected, program)) < (5e-7 if x64 else 1e-6)
        flipped = A(lens(reference, 0)) @ source.T
        assert relative_rms(flipped, reference[f"{program}_pixels"][0]) > 0.1


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(("program", "supersampling"), PROGRAMS)
def test_images_of_a_sersic_source(reference, program, supersampling, x64):
    with jax.enable_x64(x64):
        A = operator(reference, supersampling)
        for k in range(2):
            p = dict(zip(reference["sersic_names"], jnp.asarray(reference["sersics"][k]), strict=True))
            rays = jax.jit(A.lens.ray_shoot)(lens(reference, k), A.rays[0].x, A.rays[0].y)
            image = A.blur(jnp.mean(sersic({str(n): v for n, v in p.items()}, *rays), 0))
            expected = reference[f"{program}_sersic"][k]
            assert relative_rms(compared(image, program), compared(expected, program)) < (5e-7 if x64 else 2e-6)


@pytest.mark.oracle
@pytest.mark.parametrize(("program", "supersampling"), PROGRAMS)
def test_live(program, supersampling):
    """New random lenses and sources, today's versions of both programs."""
    pytest.importorskip(program)
    spec = importlib.util.spec_from_file_location("make_lens_references", HERE / "make_lens_references.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-6, 6, (2, 500))
    psf, source = make.gaussian_psf(), make.pixel_source(rng)
    with jax.enable_x64(True):
        A = LensOperator(LensModel(), (make.NPIX, make.NPIX), make.SCALE, make.SOURCE_NPIX, make.FOV, psf,
                         supersampling=supersampling)  # fmt: skip
        for _ in range(3):
            p = make.draw_lens(rng)
            values = {k: jnp.asarray(v) for k, v in p.items()}
            expected = getattr(make, f"{program}_deflection")(p, x, y)
            assert relative_rms(jnp.stack(A.lens.deflection(values, x, y)), expected) < 1e-11
            image, expected = A(values) @ jnp.asarray(source), getattr(make, f"{program}_image")(p, source, psf)
            # lenstronomy agrees to 1e-12; caustics' grid is float32
            tolerance = 1e-6 if program == "caustics" else 1e-10
            assert relative_rms(compared(image, program), compared(expected, program)) < tolerance
