"""Deflections in other programs' parameters against blindlens's: stored arrays always, live where installed."""

import importlib.util
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from blindlens import conventions
from blindlens.errors import BlindlensError
from blindlens.lens.mass import LensModel

HERE = Path(__file__).parent.parent / "references"
MODULES = {"lenstronomy": "lenstronomy", "pyautolens": "autogalaxy", "coolest": "coolest"}


@pytest.fixture(scope="module")
def reference():
    return np.load(HERE / "conversions.npz")


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_conversion_references", HERE / "make_conversion_references.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to(program, p):
    """Names and arguments, without COOLEST's multipoles."""
    return getattr(conventions, f"to_{program}")(p)[:2]


def of(program, names, kwargs):
    return getattr(conventions, f"from_{program}")(names, kwargs)


def mass(p):
    orders = sorted(int(n[2:]) for n in p if n.startswith("a_"))
    parts = ("epl" if "t" in p else "sie", "shear", *(f"multipole{m}" for m in orders))
    return LensModel(parts, {"q": (0.45, 1.0)} | ({"t": (0.5, 1.5)} if "t" in p else {}))


@eqx.filter_jit
def compiled(model, values, x, y):
    return model.deflection(values, x, y)


def deflection(p, x, y):
    with jax.enable_x64(True):
        values = {name: jnp.asarray(value, float) for name, value in p.items()}
        return np.stack(compiled(mass(p), values, jnp.asarray(x), jnp.asarray(y)))


def random_lens(rng, slope=True, multipoles=(3, 4)):
    p = {"x0": rng.uniform(-0.3, 0.3), "y0": rng.uniform(-0.3, 0.3), "q": rng.uniform(0.5, 0.99)}
    p |= {"phi": rng.uniform(0, np.pi), "Rein": rng.uniform(0.7, 2)} | ({"t": rng.uniform(0.6, 1.4)} if slope else {})
    p |= {"gamma_1": rng.uniform(-0.1, 0.1), "gamma_2": rng.uniform(-0.1, 0.1)}
    for m in multipoles:
        p |= {f"a_{m}": rng.uniform(0.001, 0.03), f"phi_{m}": rng.uniform(0, 2 * np.pi / m)}
    return p


@pytest.mark.parametrize("program", list(MODULES))
def test_deflections_are_those_of_the_program(reference, program):
    x, y = reference["rays"]
    for text, expected in zip(reference[f"{program}_lenses"], reference[f"{program}_deflections"], strict=True):
        p = of(program, *json.loads(str(text)))
        np.testing.assert_allclose(deflection(p, x, y), expected, atol=1e-8)
        for name, value in p.items():  # a control: every parameter matters, its sign too
            assert np.abs(deflection({**p, name: value + 1e-3}, x, y) - expected).max() > 1e-6, name


@pytest.mark.parametrize("program", list(MODULES))
def test_the_programs_arguments_come_back(reference, program):
    """Their arguments -> ours -> theirs, but for angles by whole periods and the sign of a multipole."""
    x, y = reference["rays"]
    for text in reference[f"{program}_lenses"]:
        names, kwargs = json.loads(str(text))
        again, values = to(program, of(program, names, kwargs))
        assert again == names
        for before, after in zip(kwargs, values, strict=True):
            assert set(before) == set(after)
            for key in set(before) - {"a_m", "phi_m", "einstein_radius", "multipole_comps"}:
                np.testing.assert_allclose(after[key], before[key], atol=1e-12)
            if "einstein_radius" in before and "multipole_comps" not in before:
                assert after["einstein_radius"] == pytest.approx(before["einstein_radius"], rel=1e-12)


@pytest.mark.parametrize("program", list(MODULES))
@pytest.mark.parametrize("slope", [True, False])
def test_round_trips_of_numbers_and_of_draws(program, slope):
    rng = np.random.default_rng(3)
    lenses = [random_lens(rng, slope, () if program == "coolest" else (3, 4)) for _ in range(50)]
    for p in lenses:
        again = of(program, *to(program, p))
        assert list(again) == list(p)
        np.testing.assert_allclose(list(again.values()), list(p.values()), atol=1e-13)
    draws = {name: np.array([p[name] for p in lenses]) for name in lenses[0]}
    for name, values in of(program, *to(program, draws)).items():
        np.testing.assert_allclose(values, draws[name], atol=1e-13)


def test_multipoles_in_the_meta_of_coolest_come_back():
    p = random_lens(np.random.default_rng(4))
    names, kwargs, multipoles = conventions.to_coolest(p)
    again = conventions.from_coolest(names, kwargs, multipoles)
    np.testing.assert_allclose([again[name] for name in p], list(p.values()), atol=1e-13)
    assert all(-180 / k["m"] < k["phi_m"] <= 180 / k["m"] for k in multipoles)


def test_coolest_angles():
    """Along +x 90 degrees, along +y 0, halfway to -x 45."""
    at = {"x0": 0.0, "y0": 0.0, "q": 0.8, "Rein": 1.0}
    for phi, expected in [(0.0, 90.0), (np.pi / 2, 0.0), (3 * np.pi / 4, 45.0), (np.pi / 4, -45.0)]:
        assert conventions.to_coolest({**at, "phi": phi})[1][0]["phi"] == pytest.approx(expected, abs=1e-12)


def test_pyautolens_power_law_by_its_published_convergence():
    """kappa = (3 - slope)/(1 + q) (einstein_radius/xi)^(slope - 1), deflected by quadrature (Keeton 2001)."""
    rng = np.random.default_rng(8)
    for _ in range(3):
        q, slope, radius = rng.uniform(0.5, 0.95), rng.uniform(1.7, 2.3), rng.uniform(0.8, 1.8)
        p = conventions.from_pyautolens(
            ["PowerLaw"], [{"ell_comps": (0.0, (1 - q) / (1 + q)), "einstein_radius": radius, "slope": slope}]
        )
        x, y = rng.uniform(-2, 2, 2)

        def integrand(u, axis, x=x, y=y, q=q, slope=slope, radius=radius):
            narrowed = 1 - (1 - q**2) * u
            xi = np.sqrt(u * (x**2 + y**2 / narrowed))
            return (3 - slope) / (1 + q) * (radius / xi) ** (slope - 1) / narrowed ** (0.5 + axis)

        expected = [q * v * scipy.integrate.quad(integrand, 0, 1, (axis,))[0] for axis, v in enumerate((x, y))]
        lens = {**p, "gamma_1": 0.0, "gamma_2": 0.0}
        np.testing.assert_allclose(deflection(lens, np.array([x]), np.array([y]))[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("program", "names", "kwargs", "words"),
    [
        ("lenstronomy", ["NFW"], [{}], "NFW has no counterpart"),
        ("lenstronomy", ["SHEAR"], [{"gamma1": 0.1, "gamma2": 0.0, "ra_0": 1.0}], "about another point"),
        ("lenstronomy", ["SHEAR"], [{"gamma1": 0.1, "gamma2": 0.0}], "has 0 power laws"),
        ("lenstronomy", ["SIE", "MULTIPOLE"], [{"theta_E": 1.0, "e1": 0.0, "e2": 0.0},
         {"m": 3, "a_m": 0.1, "phi_m": 0.0, "center_x": 0.1}], "off the power law's centre"),
        ("pyautolens", ["PowerLawMultipole"], [{"m": 4, "slope": 2.1, "multipole_comps": (0, 0.1)}], "slope 2.1"),
        ("pyautolens", ["NFW"], [{}], "NFW has no counterpart"),
        ("coolest", ["NIE"], [{}], "NIE has no counterpart"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused(program, names, kwargs, words):
    with pytest.raises(BlindlensError, match=words):
        of(program, names, kwargs)


def test_parameters_without_counterpart_are_refused():
    p = random_lens(np.random.default_rng(5))
    conventions.to_lenstronomy({**p, "xs": 0.1, "flux_scale": 2.0, "q_light": 0.8, "q_light_b": 0.7})
    with pytest.raises(BlindlensError, match="x_sub has no counterpart"):
        conventions.to_lenstronomy({**p, "x_sub": 0.1})
    with pytest.raises(BlindlensError, match="without phi;"):
        conventions.to_pyautolens({k: v for k, v in p.items() if k != "phi"})


@pytest.mark.oracle
@pytest.mark.parametrize("program", list(MODULES))
def test_live(make, program):
    """New random lenses, both ways, today's versions."""
    pytest.importorskip(MODULES[program])
    draw, deflect = make.PROGRAMS[program]
    rng = np.random.default_rng(12)
    x, y = rng.uniform(-4, 4, (2, 300))
    for k in range(6):
        theirs = draw(rng, k > 1)
        np.testing.assert_allclose(deflection(of(program, *theirs), x, y), deflect(*theirs, x, y), atol=1e-8)
        ours = random_lens(rng, k > 1, () if program == "coolest" else (3, 4))
        np.testing.assert_allclose(deflect(*to(program, ours), x, y), deflection(ours, x, y), atol=1e-8)
