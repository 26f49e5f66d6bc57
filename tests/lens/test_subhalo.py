"""Subhaloes and multipoles against lenstronomy: stored arrays always, live where it is installed."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.lens.mass import LensModel
from blindlens.lens.perturbations import multipole
from blindlens.lens.subhalo import Halo, nfw, sis

HERE = Path(__file__).parent.parent / "references"
HALO = Halo.at(0.5, 1.0)
PLACE = {"x_sub": 0.3, "y_sub": -0.2}


@pytest.fixture(scope="module")
def reference():
    return np.load(HERE / "subhalo.npz")


def worst(a, b):
    """Greatest relative error of a deflection (2, N)."""
    return float(np.max(np.hypot(*(np.asarray(a, float) - b)) / np.hypot(*b)))


def rays(n=60):
    """Two radii either side of r_s for every mass, and the neighbourhood of the centre."""
    r = jnp.geomspace(1e-3, 4.0, n)
    angle = jnp.linspace(0.0, 20.0, n)
    return PLACE["x_sub"] + r * jnp.cos(angle), PLACE["y_sub"] + r * jnp.sin(angle)


# in float32 rays are rounded to 3e-8 arcsec, and so their directions 1e-3 arcsec from the centre to 1e-4
@pytest.mark.parametrize(("x64", "tolerance"), [(False, 5e-4), (True, 3e-6)])
def test_deflections_are_lenstronomys(reference, x64, tolerance):
    with jax.enable_x64(x64):
        x, y = jnp.asarray(reference["rays"])
        for log_m200, expected in zip(reference["log_m200"], reference["nfw"], strict=True):
            p = {**PLACE, "log_m200": jnp.asarray(log_m200)}
            assert worst(jnp.stack(nfw(p, x, y, HALO)), expected) < tolerance
            heavier = {**PLACE, "log_m200": jnp.asarray(log_m200 + 1e-3)}
            assert worst(jnp.stack(nfw(heavier, x, y, HALO)), expected) > 1e-3
        for theta, expected in zip(reference["theta_sub"], reference["sis"], strict=True):
            assert worst(jnp.stack(sis({**PLACE, "theta_sub": jnp.asarray(theta)}, x, y)), expected) < tolerance
        for phi, expected in zip(reference["phi_4"], reference["multipole4"], strict=True):
            p = {"x0": 0.3, "y0": -0.2, "a_4": jnp.asarray(0.015), "phi_4": jnp.asarray(phi)}
            assert worst(jnp.stack(multipole(p, x, y, 4)), expected) < tolerance


def test_a_mass_is_the_halo_that_lenstronomy_makes_of_it(reference):
    with jax.enable_x64(True):
        for log_m200, (r_s, alpha_rs) in zip(reference["log_m200"], reference["nfw_profile"], strict=True):
            ours, kappa_s = HALO.profile(jnp.asarray(log_m200))
            # lenstronomy's critical density and parsec are rounded
            np.testing.assert_allclose(ours, r_s, rtol=3e-6)
            np.testing.assert_allclose(4 * kappa_s * ours * (1 + np.log(0.5)), alpha_rs, rtol=3e-6)


def test_nfw_in_single_precision_is_smooth_through_its_scale_radius():
    with jax.enable_x64(True):
        r_s = float(HALO.profile(jnp.asarray(9.5))[0])
        r = r_s * jnp.concatenate([jnp.geomspace(1e-4, 50, 3000), 1 + jnp.linspace(-0.12, 0.12, 3000)])
        p = {"x_sub": 0.0, "y_sub": 0.0, "log_m200": jnp.asarray(9.5)}
        exact = np.asarray(nfw(p, r, 0 * r, HALO)[0])
    r, p = jnp.asarray(np.asarray(r), jnp.float32), {k: jnp.float32(v) for k, v in p.items()}
    np.testing.assert_allclose(nfw(p, r, 0 * r, HALO)[0], exact, rtol=1e-5)


@pytest.mark.parametrize("name", ["sis_subhalo", "nfw_subhalo"])
def test_gradients_against_finite_differences_no_curl_and_kappa(name):
    with jax.enable_x64(True):
        model = LensModel(("epl", name), z_lens=0.5, z_source=1.0)
        component = model.components[1]
        x, y = rays()
        x, y = x[20:], y[20:]  # beyond 0.02 arcsec, where a step of 1e-4 is short
        amplitude = {"theta_sub": 0.03} if name == "sis_subhalo" else {"log_m200": 9.7}
        p = {k: jnp.asarray(v) for k, v in {**PLACE, **amplitude}.items()} | {"x": x, "y": y}

        def f(p):
            return jnp.stack(component.deflection(p, p["x"], p["y"]))

        for key in p:
            v = {k: jnp.full_like(w, k == key) for k, w in p.items()}
            h = 1e-5
            exact = jax.jvp(f, (p,), (v,))[1]
            finite = (f({k: p[k] + h * v[k] for k in p}) - f({k: p[k] - h * v[k] for k in p})) / (2 * h)
            np.testing.assert_allclose(exact, finite, rtol=1e-5, atol=1e-6 * float(jnp.abs(exact).max()))
        along, across = (
            jax.jvp(lambda x, y: f({**p, "x": x, "y": y}), (x, y), v)[1]
            for v in ((jnp.ones_like(x), 0 * x), (0 * x, jnp.ones_like(x)))
        )
        kappa = (along[0] + across[1]) / 2
        np.testing.assert_allclose(along[1], across[0], atol=1e-10 * float(kappa.max()))
        r = jnp.hypot(x - p["x_sub"], y - p["y_sub"])
        if name == "sis_subhalo":
            expected = p["theta_sub"] / (2 * r)
        else:  # Bartelmann (1996), which the deflection does not use
            r_s, kappa_s = HALO.profile(p["log_m200"])
            u = r / r_s
            inner, outer = jnp.minimum(u, 0.999), jnp.maximum(u, 1.001)
            root, far = jnp.sqrt(1 - inner**2), jnp.sqrt(outer**2 - 1)
            h = jnp.where(u < 1, jnp.arctanh(root) / root, jnp.arctan(far) / far)
            expected = 2 * kappa_s * (1 - h) / (u**2 - 1)
        np.testing.assert_allclose(kappa, expected, rtol=1e-6)


@pytest.mark.parametrize("x64", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["sis_subhalo", "nfw_subhalo"])
def test_a_ray_at_the_subhalos_centre_has_finite_values_and_gradients(name, x64):
    with jax.enable_x64(x64):
        model = LensModel(("sie", "shear", name), z_lens=0.5, z_source=1.0)
        p = model.space.sample(jax.random.key(1))
        x, y = jnp.stack([p["x_sub"], p["x_sub"] + 1e-6, 1.0]), jnp.stack([p["y_sub"], p["y_sub"], 0.5])
        for mode in (jax.jacfwd, jax.jacrev):
            both = mode(lambda p, x, y: jnp.stack(model.deflection(p, x, y)), (0, 1, 2))(p, x, y)
            assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(both))
        assert jnp.isfinite(model.jacobian(p, x, y)).all()


def test_priors_and_their_order():
    default = ("x0", "y0", "q", "phi", "Rein", "t", "gamma_1", "gamma_2", "a_3", "phi_3", "xs", "ys")
    assert LensModel().space.names == default
    model = LensModel(("sis_subhalo", "shear", "epl"), {"x_sub": (-1.0, 1.0), "theta_sub": (0.01, 0.1)})
    assert model.space.names == (*default[:8], "x_sub", "y_sub", "theta_sub", "xs", "ys")
    p = model.space.sample(jax.random.key(0), (4000,))
    assert float(jnp.abs(p["x_sub"]).max()) < 1 < float(jnp.abs(p["y_sub"]).max()) < 2.5
    # log-uniform: half lie below the geometric mean of the ends
    assert abs(float(jnp.mean(p["theta_sub"] < np.sqrt(0.001))) - 0.5) < 0.03


@pytest.mark.parametrize(
    ("mass", "redshifts", "message"),
    [
        (("epl", "nfw_subhalo"), (None, None), "lens.z_lens and lens.z_source"),
        (("epl", "nfw_subhalo"), (1.0, 0.5), "0 < z_lens < z_source"),
        (("epl", "nfw_subhalo", "sis_subhalo"), (0.5, 1.0), "x_sub is named twice"),
        (("nfw_subhalo",), (0.5, 1.0), "exactly one of"),
    ],
)
def test_what_is_no_lens_is_refused(mass, redshifts, message):
    with pytest.raises(BlindlensError, match=message):
        LensModel(mass, None, *redshifts)


@pytest.mark.oracle
def test_live():
    """Other masses and rays, today's lenstronomy."""
    pytest.importorskip("lenstronomy")
    spec = importlib.util.spec_from_file_location("make", HERE / "make_subhalo_references.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    rng = np.random.default_rng(8)
    x, y = rng.uniform(-4, 4, (2, 300))
    with jax.enable_x64(True):
        for _ in range(4):
            log_m200, theta, phi = rng.uniform(8, 12), rng.uniform(0.001, 0.2), rng.uniform(0, np.pi / 2)
            p = {**PLACE, "log_m200": log_m200, "theta_sub": theta, "x0": 0.3, "y0": -0.2, "a_4": 0.01, "phi_4": phi}
            p = {k: jnp.asarray(v) for k, v in p.items()}
            assert worst(jnp.stack(nfw(p, x, y, HALO)), make.nfw(log_m200, x, y)) < 3e-6
            assert worst(jnp.stack(sis(p, x, y)), make.sis(theta, x, y)) < 1e-11
            assert worst(jnp.stack(multipole(p, x, y, 4)), make.multipole(4, 0.01, phi, x, y)) < 1e-11
