import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.lens.mass import LensModel
from blindlens.lens.perturbations import multipole
from blindlens.lens.power_law import epl, series_terms


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def rays(key, n=200):
    return jax.random.uniform(jax.random.key(key), (2, n), minval=-4.0, maxval=4.0)


def test_gradient_in_every_parameter_and_position_against_finite_differences():
    model = LensModel(mass=("epl", "shear", "multipole3", "multipole4"))
    x, y = rays(0)

    @jax.jit
    def f(p):
        return jnp.stack(model.deflection(p, p["x"], p["y"]))

    push = jax.jit(lambda p, v: jax.jvp(f, (p,), (v,))[1])
    for seed in range(5):
        p = model.space.sample(jax.random.key(seed)) | {"x": x, "y": y}
        for name in p:
            if name in ("xs", "ys"):
                continue
            v = {k: jnp.full_like(w, k == name) for k, w in p.items()}
            exact = push(p, v)
            h, shift = 1e-3, lambda s, v=v, p=p: {k: p[k] + s * v[k] for k in p}
            # fourth order, so that the error is rounding's and not the step's; rays near the centre are steep
            finite = (8 * (f(shift(h)) - f(shift(-h))) - f(shift(2 * h)) + f(shift(-2 * h))) / (12 * h)
            far = jnp.hypot(x - p["x0"], y - p["y0"]) > 0.5
            error = jnp.sqrt(jnp.mean((exact - finite)[:, far] ** 2) / jnp.mean(exact[:, far] ** 2))
            assert error < 1e-7, (name, error)


def test_reverse_mode_is_forward_modes_transpose():
    model = LensModel()
    x, y = rays(1)
    p = model.space.sample(jax.random.key(1))
    v = model.space.sample(jax.random.key(2))

    def f(p):
        return jnp.stack(model.ray_shoot(p, x, y))

    tangent = jax.jit(lambda p, v: jax.jvp(f, (p,), (v,))[1])(p, v)
    w = jax.random.normal(jax.random.key(3), tangent.shape)
    gradient = jax.jit(lambda p, w: jax.vjp(f, p)[1](w)[0])(p, w)
    np.testing.assert_allclose(sum(gradient[k] * v[k] for k in v), jnp.sum(w * tangent), rtol=1e-11)


def test_second_derivatives():
    model = LensModel()
    x, y = rays(2)
    p, v = model.space.sample(jax.random.key(4)), model.space.sample(jax.random.key(5))

    def f(s):
        q = {k: p[k] + s * v[k] * 0.1 for k in p}
        return jnp.sum(jnp.sin(jnp.stack(model.deflection(q, x, y))))

    h, slope = 1e-5, jax.jit(jax.grad(f))
    finite = (slope(h) - slope(-h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(slope))(0.0), finite, rtol=1e-6)


def test_a_ray_at_the_centre_has_finite_values_and_gradients():
    model = LensModel()
    t, q = (v.ravel()[:, None] for v in jnp.meshgrid(jnp.array([0.8, 1.0, 1.2]), jnp.array([0.6, 1.0])))
    p = model.space.sample(jax.random.key(6)) | {"t": t, "q": q}
    x, y = jnp.array([float(p["x0"]), 1.0]), jnp.array([float(p["y0"]), 0.5])
    for mode in (jax.jacfwd, jax.jacrev):
        both = jax.jit(mode(lambda p, x, y: jnp.stack(model.deflection(p, x, y)), (0, 1, 2)))(p, x, y)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(both))
    assert jnp.isfinite(jax.jit(model.jacobian)(p, x, y)).all()
    with jax.enable_x64(False):
        q32 = {k: jnp.float32(v) for k, v in p.items()}
        g = jax.jit(jax.grad(lambda q: jnp.sum(jnp.stack(model.deflection(q, q["x0"], q["y0"])))))(q32)
        assert all(jnp.isfinite(v).all() for v in g.values())


def test_epl_has_its_convergence_and_no_curl():
    """div alpha = 2 kappa with kappa = (2 - t)/2 (Rein sqrt(q)/R)^t, which the series never uses."""
    model = LensModel(mass=("epl",))
    jacobian = jax.jit(model.jacobian)
    x, y = rays(3)
    for seed in range(5):
        p = model.space.sample(jax.random.key(seed))
        a = jnp.eye(2)[..., None] - jacobian(p, x, y)
        c, s = jnp.cos(p["phi"]), jnp.sin(p["phi"])
        u, v = c * (x - p["x0"]) + s * (y - p["y0"]), c * (y - p["y0"]) - s * (x - p["x0"])
        kappa = (2 - p["t"]) / 2 * (p["Rein"] * jnp.sqrt(p["q"]) / jnp.hypot(p["q"] * u, v)) ** p["t"]
        np.testing.assert_allclose((a[0, 0] + a[1, 1]) / 2, kappa, rtol=1e-8)
        np.testing.assert_allclose(a[0, 1], a[1, 0], atol=1e-9 * float(kappa.max()))
        wrong = (2 - p["t"]) / 2 * (p["Rein"] / jnp.hypot(p["q"] * u, v)) ** p["t"]
        assert (wrong / kappa).min() > 1.001


@pytest.mark.parametrize("m", [2, 3, 4, 7])
def test_multipole_is_the_gradient_of_its_potential(m):
    x, y = rays(4)
    p = {"x0": 0.1, "y0": -0.05, f"a_{m}": 0.015, f"phi_{m}": 0.7}

    def psi(x, y):
        dx, dy = x - p["x0"], y - p["y0"]
        return jnp.hypot(dx, dy) * p[f"a_{m}"] / (1 - m**2) * jnp.cos(m * (jnp.arctan2(dy, dx) - p[f"phi_{m}"]))

    expected = jax.vmap(jax.grad(psi, (0, 1)))(x, y)
    np.testing.assert_allclose(multipole(p, x, y, m), expected, atol=1e-15)


def test_sie_is_an_epl_of_slope_one():
    sie, pl = LensModel(mass=("sie", "shear")), LensModel(mass=("epl", "shear"))
    assert "t" not in sie.space.names and "t" in pl.space.names
    p = sie.space.sample(jax.random.key(7))
    x, y = rays(5)
    np.testing.assert_allclose(sie.deflection(p, x, y), pl.deflection(p | {"t": jnp.array(1.0)}, x, y), atol=1e-10)


@pytest.mark.parametrize("q", [0.2, 0.4, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-10])
def test_series_terms_reach_the_tolerance_and_are_not_wasteful(q, tolerance):
    x, y = rays(6)
    p = {"x0": 0.0, "y0": 0.0, "q": q, "phi": 0.4, "Rein": 1.3, "t": 1.2}
    exact = jnp.stack(epl(p, x, y, 200))

    def error(terms):
        off = jnp.stack(epl(p, x, y, terms)) - exact
        return float((jnp.hypot(*off) / jnp.hypot(*exact)).max())

    terms = series_terms(q, 1.2, tolerance)
    assert error(terms) < tolerance * 3
    assert terms < 3 or error(terms - 3) > tolerance


def test_magnification_is_the_ratio_of_areas():
    model = LensModel()
    p = model.space.sample(jax.random.key(8))
    x, y = rays(7, 50)
    h = 1e-5
    bx, by = model.ray_shoot(p, x[:, None] + h * jnp.array([1, 0, -1, 0]), y[:, None] + h * jnp.array([0, 1, 0, -1]))
    area = 0.5 * ((bx[:, 0] - bx[:, 2]) * (by[:, 1] - by[:, 3]) - (bx[:, 1] - bx[:, 3]) * (by[:, 0] - by[:, 2]))
    np.testing.assert_allclose(1 / jax.jit(model.magnification)(p, x, y), area / (2 * h * h), rtol=1e-5)


def test_parameters_broadcast_against_rays():
    model = LensModel()
    p = model.space.sample(jax.random.key(9), (3,))
    x, y = rays(8)
    together = jnp.stack(model.ray_shoot({k: v[:, None] for k, v in p.items()}, x, y))
    for k in range(3):
        one = jnp.stack(model.ray_shoot({n: v[k] for n, v in p.items()}, x, y))
        np.testing.assert_allclose(together[:, k], one, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mass": ("nfw",)}, "unknown mass component 'nfw'"),
        ({"mass": ("epl", "multipole1")}, "multipole1"),
        ({"mass": ("epl", "sie")}, "exactly one of epl, sie"),
        ({"mass": ("shear",)}, "exactly one of epl, sie"),
        ({"mass": ("epl", "shear", "shear")}, "twice"),
        ({"ranges": {"theta_E": (1, 2)}}, "'theta_E'.*Rein"),
        ({"ranges": {"phi": (0, 1)}}, "'phi'"),
        ({"ranges": {"q": (0.5, 1.2)}}, "q must be"),
        ({"ranges": {"Rein": (2.0, 1.0)}}, "Rein must be"),
        ({"mass": ("sie",), "ranges": {"t": (0.9, 1.1)}}, "'t'"),
    ],
)
def test_what_is_not_a_lens_is_refused(kwargs, message):
    with pytest.raises(BlindlensError, match=message):
        LensModel(**kwargs)
