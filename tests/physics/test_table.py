"""Fluxes, magnification, radii and masses against closed forms; the table of a posterior; angles across the cut."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_posterior
from scipy.special import ellipk

from blindlens.config.physics import PhysicsConfig
from blindlens.cosmology import Distances
from blindlens.errors import BlindlensError
from blindlens.lens.critical import critical_lines
from blindlens.lens.mass import LensModel
from blindlens.lens.perturbations import shear
from blindlens.physics import derived
from blindlens.physics.critical import effective_radius
from blindlens.physics.source import fluxes, half_light_radius, reach
from blindlens.sky import Sky

KNOWN = PhysicsConfig(z_lens=0.4, z_source=1.5, zero_point=25.0, north_up=True)


def gaussian(n, fov, sigma, x=0.0, y=0.0):
    side = (np.arange(n) - (n - 1) / 2) * fov / n
    return np.exp(-((side[None, :] - x) ** 2 + (side[:, None] - y) ** 2) / (2 * sigma**2))


def sphere(rein, xs=0.0, ys=0.0, **more):
    p = {"x0": 0.0, "y0": 0.0, "q": 1.0, "phi": 0.0, "Rein": rein, "xs": xs, "ys": ys, **more}
    return {name: np.full(1, value) for name, value in p.items()}


def fluxes_of(model, draws, source, fov, scale=0.05):
    return (v[0] for v in fluxes(model, draws, source[None].astype(np.float32), np.full(1, fov), scale, "cubic"))


def test_magnification_by_an_isothermal_sphere():
    """2 Rein/beta for a point; a Gaussian in the centre 2 Rein sqrt(pi/2)/sigma, one off it the mean over its light."""
    model, sigma = LensModel(("sie",)), 0.12
    lensed, unlensed = fluxes_of(model, sphere(1.2), gaussian(64, 1.6, sigma), 1.6)
    assert lensed / unlensed == pytest.approx(2 * 1.2 * np.sqrt(np.pi / 2) / sigma, rel=0.003)
    assert unlensed == pytest.approx(2 * np.pi * sigma**2 / 0.05**2, rel=1e-3)
    beta = np.random.default_rng(0).normal(0, 0.05, (400_000, 2)) + [0.4, 0.2]
    point = np.linalg.norm(beta, axis=1)
    lensed, unlensed = fluxes_of(model, sphere(1.2, 0.4, 0.2), gaussian(64, 1.0, 0.05), 1.0)
    assert lensed / unlensed == pytest.approx(np.mean(2 * 1.2 / point), rel=0.003)
    single = np.mean(1 + 1.2 / np.linalg.norm(beta + [1.2, 0], axis=1))  # beyond the cut there is one image
    lensed, unlensed = fluxes_of(model, sphere(1.2, 1.6, 0.2), gaussian(64, 1.0, 0.05), 1.0)
    assert lensed / unlensed == pytest.approx(single, rel=0.003)


def test_all_images_lie_within_reach():
    model = LensModel()
    rng = np.random.default_rng(1)
    shoot = jax.jit(model.ray_shoot)
    lenses = model.space.sample(jax.random.key(rng.integers(1e9)), (50,))
    for k in range(50):
        p = {name: np.asarray(v[k : k + 1]) for name, v in lenses.items()}
        ring = reach(p, np.full(1, 2.0)) * np.exp(1j * np.linspace(0, 2 * np.pi, 400))
        ring = np.concatenate([ring, 1.5 * ring])
        bx, by = shoot({name: v[0] for name, v in p.items()}, ring.real, ring.imag)
        assert (np.maximum(np.abs(bx - p["xs"]), np.abs(by - p["ys"])) > 1.0).all()


@pytest.mark.parametrize("q", [0.5, 0.8, 1.0])
def test_effective_radius(q):
    """Of an isothermal ellipsoid Rein itself; with shear against the area of critical lines on a grid."""
    model = LensModel(("sie", "shear"), {"q": (0.4, 1.0)})
    alone = sphere(1.3, q=np.array(q), phi=0.7, gamma_1=0.0, gamma_2=0.0)
    assert effective_radius(model, alone)[0] == pytest.approx(1.3, rel=2e-4)
    sheared = {**alone, "gamma_1": np.full(1, 0.08), "gamma_2": np.full(1, -0.05)}
    (line,) = critical_lines(model, {k: jnp.asarray(v[0]) for k, v in sheared.items()}, 4.0, 800)
    x, y = line.T
    area = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    assert effective_radius(model, sheared)[0] == pytest.approx(np.sqrt(area / np.pi), rel=1e-3)
    assert abs(np.sqrt(area / np.pi) - 1.3) > 0.003 * q  # a control: shear changes it


@pytest.mark.parametrize("t", [0.8, 1.0, 1.25])
def test_the_mean_convergence_is_one_within_the_ellipse_of_area_pi_rein_squared(t):
    """By Gauss's theorem from the deflection; shear and m = 3 add nothing. In the circle of radius Rein it is less."""
    model = LensModel(("epl", "shear", "multipole3"), {"q": (0.5, 1.0), "t": (0.5, 1.5)})
    p = {"x0": 0.1, "y0": -0.2, "q": 0.6, "phi": 0.8, "Rein": 1.4, "t": t, "gamma_1": 0.05, "gamma_2": -0.03}
    p |= {"a_3": 0.02, "phi_3": 0.4}
    turn = np.linspace(0, 2 * np.pi, 2000, endpoint=False)

    def mean_convergence(a, b):
        """(1/2) closed integral of alpha over the outward normal, over the area."""
        z = np.exp(1j * p["phi"]) * (a * np.cos(turn) + 1j * b * np.sin(turn))
        normal = np.exp(1j * p["phi"]) * (b * np.cos(turn) + 1j * a * np.sin(turn)) * 2 * np.pi / len(turn)
        with jax.enable_x64(True):
            at = (jnp.asarray(p["x0"] + z.real), jnp.asarray(p["y0"] + z.imag))
            ax, ay = model.deflection({k: jnp.asarray(v) for k, v in p.items()}, *at)
        return np.sum(np.asarray(ax) * normal.real + np.asarray(ay) * normal.imag) / 2 / (np.pi * a * b)

    root = np.sqrt(p["q"])
    assert mean_convergence(p["Rein"] / root, p["Rein"] * root) == pytest.approx(1, abs=1e-8)
    circle = mean_convergence(p["Rein"], p["Rein"])
    assert 0.95 < circle < 0.995
    if t == 1:
        assert circle == pytest.approx(2 * root / np.pi * ellipk(1 - p["q"] ** 2), abs=1e-8)


def test_a_neighbour_stretches_images_across_its_direction():
    """A point mass far away at position angle 30 degrees: the shear it makes at the lens has position angle 120."""
    place = 50 * np.exp(1j * (np.radians(30) + np.pi / 2))  # north up, east left

    def deflection(z):
        return 10 / np.conj(z - place)

    h = 1e-3
    across, along = ((deflection(d) - deflection(-d)) / (2 * h) for d in (h, 1j * h))
    gamma = (across.real - along.imag) / 2, (across.imag + along.real) / 2
    angle = Sky.north_up().position_angle(np.arctan2(gamma[1], gamma[0]) / 2)
    assert angle == pytest.approx(120, abs=1e-3)
    with jax.enable_x64(True):  # and our shear of these numbers is that field
        p = {"gamma_1": jnp.asarray(gamma[0]), "gamma_2": jnp.asarray(gamma[1])}
        a = shear(p, jnp.asarray(0.3), jnp.asarray(-0.2))
    expected = deflection(0.3 - 0.2j) - deflection(0)
    assert complex(a[0], a[1]) == pytest.approx(expected, rel=0.02)


def test_half_light_radius_of_a_gaussian():
    sources = np.stack([gaussian(64, 3.0, 0.3), gaussian(64, 3.0, 0.3, 0.4, -0.2)])
    np.testing.assert_allclose(half_light_radius(sources, np.array([3.0, 6.0])), [0.3532, 0.7064], rtol=0.04)


def test_table(posterior):
    table = derived(posterior, KNOWN)
    json.dumps(table, allow_nan=False)
    values, d = table["values"], Distances.between(0.4, 1.5)
    assert values["einstein_mass"]["mean"] == pytest.approx(d.mass(1.5), rel=0.01)
    assert values["einstein_radius_kpc"]["mean"] == pytest.approx(1.5 * d.kpc_lens, rel=0.005)
    assert values["velocity_dispersion"]["mean"] == pytest.approx(d.velocity_dispersion(1.5), rel=0.005)
    assert values["einstein_mass"]["sd"] / values["einstein_mass"]["mean"] == pytest.approx(
        2 * posterior.summary()["parameters"]["Rein"]["sd"] / 1.5, rel=0.15
    )
    assert values["effective_einstein_radius"]["mean"] == pytest.approx(1.5, rel=0.02)
    assert values["shear"]["mean"] == pytest.approx(np.hypot(0.03, 0.02), rel=0.05)
    # phi = 0.01 rad lies along x, 90 degrees east of north, a little less than that; its draws cross the cut
    assert values["mass_position_angle"]["mean"] == pytest.approx(90 + np.degrees(0.01), abs=0.3)
    assert values["mass_position_angle"]["sd"] == pytest.approx(np.degrees(0.02), rel=0.2)
    shear = (np.degrees(np.arctan2(-0.02, 0.03) / 2) - 90) % 180
    assert values["shear_position_angle"]["mean"] == pytest.approx(shear, abs=1)
    assert values["multipole3_position_angle"]["mean"] == pytest.approx((np.degrees(0.3) - 90) % 120, abs=2)
    # the observed arcs are A of the true source: their flux is the lensed flux
    arcs = float(posterior.image("model").sum())
    assert values["lensed_flux"]["mean"] == pytest.approx(arcs, rel=0.03)
    assert values["magnification"]["mean"] == pytest.approx(
        values["lensed_flux"]["mean"] / values["unlensed_flux"]["mean"], rel=0.01
    )
    for kind in ("lensed", "unlensed"):
        magnitude = 25 - 2.5 * np.log10(values[f"{kind}_flux"]["q50"])
        assert values[f"{kind}_magnitude"]["q50"] == pytest.approx(magnitude, abs=1e-3)
    assert values["half_light_radius_kpc"]["mean"] == pytest.approx(
        values["half_light_radius"]["mean"] * d.kpc_source, rel=1e-6
    )
    for row in values.values():
        assert row["q16"] <= row["q50"] <= row["q84"] and row["sd"] > 0 and row["meaning"]
    assert table["assumed"]["z_lens"] == 0.4 and "--north-up" in table["notes"][0]


def test_what_is_not_known_is_left_out_and_said(posterior):
    table = derived(posterior)
    assert not any("angle" in name or "kpc" in name or "mag" in name[-9:] for name in table["values"])
    assert {"magnification", "unlensed_flux", "effective_einstein_radius"} <= set(table["values"])
    assert [words.split(":")[0] for words in table["notes"]] == [
        "no position angles", "no magnitudes", "no kpc and solar masses"
    ]  # fmt: skip


def test_angles_from_the_posteriors_wcs():
    posterior = make_posterior()
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, "CRPIX1": 40.5, "CRPIX2": 40.5}
    step = 0.08 / 3600
    posterior.tree.attrs["wcs"] = json.dumps(cards | {"CD1_1": 0.0, "CD1_2": -step, "CD2_1": -step, "CD2_2": 0.0})
    draws = posterior.tree["posterior"].to_dataset()
    posterior.tree["posterior"] = draws.assign(phi_light=draws["phi"] + 0.5)
    # north along -x, east along -y: phi = 0.01 is nearly south, seen from there towards west
    values = derived(posterior)["values"]
    angle = values["mass_position_angle"]["mean"]
    assert values["light_position_angle"]["mean"] - angle % 180 == pytest.approx(np.degrees(0.5), abs=0.01)
    assert np.cos(2 * np.radians(angle) - 0.02) == pytest.approx(1, abs=1e-4)
    posterior.tree.attrs["wcs"] = json.dumps(cards | {"CTYPE2": "RA---TAN"})
    assert "WCS cannot be used" in derived(posterior)["notes"][0]


def test_physics_is_validated():
    for given, words in [
        ({"z_lens": 1.0, "z_source": 0.5}, "behind"),
        ({"z_lens": -1}, "greater than 0"),
        ({"cosmology": "flat"}, "none of astropy's"),
        ({"zlens": 1}, "did you mean 'z_lens'"),
    ]:
        with pytest.raises(BlindlensError, match=words):
            PhysicsConfig.from_mapping(given)
