import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import ndtr
from scipy.stats import kstest

from blindlens.errors import BlindlensError
from blindlens.lens.mass import LensModel
from blindlens.lens.parameters import NEXT, LogUniform, ParameterSpace, Polar, Uniform

Q = Polar("q", "phi", 0.6, 1.0, 2, "high")
A3 = Polar("a_3", "phi_3", 0.0, 0.02, 3, "low")


def cdfs(space):
    """{name: its prior's distribution function}."""
    out = {}
    for b in space.blocks:
        out[b.names[0]] = lambda v, b=b: (v - b.low) / (b.high - b.low)
        if isinstance(b, LogUniform):
            out[b.name] = lambda v, b=b: np.log(v / b.low) / np.log(b.high / b.low)
        if isinstance(b, Polar) and b.disc:
            out[b.amplitude] = lambda v, b=b: np.square(
                (v - b.low if b.pole == "low" else b.high - v) / (b.high - b.low)
            )
        if isinstance(b, Polar):
            out[b.angle] = lambda v, b=b: v * b.fold / (2 * np.pi)
    return out


def widths(space):
    out = {b.names[0]: b.high - b.low for b in space.blocks}
    return out | {b.angle: 2 * np.pi / b.fold for b in space.blocks if isinstance(b, Polar)}


@pytest.fixture(params=[False, True], ids=["uniform", "disc"])
def space(request):
    return LensModel(disc=request.param).space + ParameterSpace((LogUniform("flux_scale", 1e-3, 1e3),))


def test_names_in_the_order_of_the_conventions(space):
    assert " ".join(space.names) == "x0 y0 q phi Rein t gamma_1 gamma_2 a_3 phi_3 xs ys flux_scale"
    assert dict(zip(space.names, space.units, strict=True))["phi_3"] == "rad"
    assert space.size == 13


@pytest.mark.parametrize(("x64", "tolerance"), [(False, 1e-6), (True, 1e-13)])
def test_round_trip_within_four_sigma(space, x64, tolerance):
    with jax.enable_x64(x64):
        eta = jax.random.truncated_normal(jax.random.key(1), -4, 4, (5000, space.size))
        radius = jnp.hypot(eta[:, 2], eta[:, 3])
        params = space.from_normal(eta[radius < 4])
        again = space.from_normal(space.to_normal(params))
        for name, width in widths(space).items():
            off = np.abs(np.asarray(again[name] - params[name], float)) / width
            if name == "flux_scale":
                off = np.abs(np.log(np.asarray(again[name] / params[name], float))) / np.log(1e6)
            if name.startswith("phi"):  # 0 and the full period are one angle; at the pole it has no meaning
                off = np.minimum(off, 1 - off)[np.asarray(jnp.hypot(*space.to_normal(params)[:, 2:4].T)) > 0.1]
            assert off.max() < tolerance * (10 if name.startswith("phi") else 1), name


def test_priors_are_as_told_and_the_test_would_notice_a_tenth(space):
    eta = jax.random.normal(jax.random.key(2), (20_000, space.size))
    right, wrong = space.from_normal(eta), space.from_normal(1.1 * eta)
    skewed = space.from_normal(eta + 0.1)
    for name, cdf in cdfs(space).items():
        assert kstest(cdf(np.asarray(right[name], float)), "uniform").pvalue > 1e-3, name
        control = skewed if name.startswith("phi") else wrong
        assert kstest(cdf(np.asarray(control[name], float)), "uniform").pvalue < 1e-3, name


def test_amplitude_and_angle_are_independent():
    eta = jax.random.normal(jax.random.key(3), (40_000, 2))
    q, phi = Q.from_normal(eta, ndtr(eta))
    for m in (1, 2):
        moment = np.asarray((q - 0.8) / (0.4 / np.sqrt(12)) * np.sqrt(2) * jnp.cos(2 * m * phi))
        assert abs(moment.mean()) < 4 / np.sqrt(moment.size)


def test_the_lens_is_continuous_where_the_angle_wraps_and_at_the_pole():
    model = LensModel()
    x, y = jnp.array([1.3, -0.4]), jnp.array([0.2, 1.1])

    def jump(model, start, a, b):
        deflection = jax.jit(model.deflection)
        eta = jnp.zeros(model.space.size)
        ends = [model.space.from_normal(eta.at[start : start + 2].set(jnp.array(e))) for e in (a, b)]
        d = [jnp.stack(deflection(p, x, y)) for p in ends]
        return float(jnp.abs(d[0] - d[1]).max()), ends

    for start in (2, 8):
        wrap, ends = jump(model, start, (-1.0, 1e-4), (-1.0, -1e-4))
        assert wrap < 2e-4
        edge, ends = jump(model, start, (1.0, 1e-4), (1.0, -1e-4))
        assert edge < 2e-4
        name = ("phi", "phi_3")[start == 8]
        assert abs(ends[0][name] - ends[1][name]) > 2  # the angle itself does jump there
        assert jump(model, start, (1e-2, 0.0), (-1e-2, 0.0))[0] < 1e-4
    flipped = LensModel()
    blocks = [Polar("q", "phi", 0.6, 1.0, 2, "low") if b.names[0] == "q" else b for b in flipped.space.blocks]
    object.__setattr__(flipped, "space", ParameterSpace(tuple(blocks)))
    assert jump(flipped, 2, (1e-2, 0.0), (-1e-2, 0.0))[0] > 0.1  # control: the pole at the wrong end


def test_the_lens_is_smooth_at_the_pole_of_a_disc():
    def change(disc, start):
        """By how much the slope of a deflection differs at two distances from the pole, relative."""
        model = LensModel(disc=disc)
        slope = jax.grad(lambda eta: model.deflection(model.space.from_normal(eta), jnp.array(1.3), jnp.array(0.2))[1])
        near, far = (float(slope(jnp.zeros(12).at[start].set(h))[start]) for h in (1e-3, 2e-3))
        return abs(near / far - 1)

    with jax.enable_x64(True):
        for start in (2, 8):
            assert change(True, start) < 0.01
            assert change(False, start) > 0.4  # control: there it goes as |eta|
        space = LensModel(disc=True).space
        assert np.isfinite(
            jax.jacobian(lambda eta: jnp.stack(list(space.from_normal(eta).values())))(jnp.zeros(12))
        ).all()


@pytest.mark.parametrize(("disc", "tolerance"), [(False, 1e-7), (True, 2 * NEXT)])
def test_gradient_is_finite_and_right_at_the_pole(disc, tolerance):
    model = LensModel(disc=disc)

    def f(eta):
        ax, ay = model.deflection(model.space.from_normal(eta), jnp.array(1.3), jnp.array(0.2))
        return ax + 2 * ay

    with jax.enable_x64(True):
        eta = jnp.zeros(12).at[jnp.array([0, 4, 10])].set(0.3)
        h = 0.02 if disc else 1e-7  # without a disc the lens goes as |eta| eta there: the difference is off by O(h)
        steps = jnp.eye(12) * h
        finite = jax.jit(jax.vmap(lambda s: (f(eta + s) - f(eta - s)) / (2 * h)))(steps)
        np.testing.assert_allclose(jax.jit(jax.grad(f))(eta), finite, atol=tolerance)
        if disc:  # the lens does change at the pole
            assert np.abs(np.asarray(finite)[[2, 3, 8, 9]]).max() > 0.01


def test_values_outside_the_prior_are_refused_by_name(space):
    params = space.sample(jax.random.key(4))
    with pytest.raises(BlindlensError, match=r"Rein = 3 .*\[0.8, 2.2\]"):
        space.to_normal(params | {"Rein": jnp.array(3.0)})
    with pytest.raises(BlindlensError, match="q = 0.2"):
        space.to_normal(params | {"q": jnp.array(0.2)})
    with pytest.raises(BlindlensError, match="t = nan"):
        space.to_normal(params | {"t": jnp.array(jnp.nan)})
    with pytest.raises(BlindlensError, match=r"missing \['q'\]"):
        space.to_normal({k: v for k, v in params.items() if k != "q"})
    with pytest.raises(BlindlensError, match=r"unknown \['Q'\]"):
        space.to_normal(params | {"Q": jnp.array(0.8)})
    with pytest.raises(BlindlensError, match="twice"):
        space + space
    with pytest.raises(BlindlensError, match=r"\(\.\.\., 13\)"):
        space.from_normal(jnp.zeros(12))
    with pytest.raises(BlindlensError, match="low < high"):
        Uniform("x0", 1.0, -1.0)
    with pytest.raises(BlindlensError, match="positive"):
        LogUniform("s", 0.0, 1.0)


def test_priors_in_plain_values_are_where_the_draws_lie(space):
    priors, draws = space.priors(), space.sample(jax.random.key(6), (4000,))
    assert list(priors) == list(space.names)
    for name, prior in priors.items():
        scale = jnp.log if prior.kind == "log-uniform" else jnp.asarray
        low, high, least, most = (
            float(scale(v)) for v in (prior.low, prior.high, draws[name].min(), draws[name].max())
        )
        # a disc is thin near its pole
        below, above = (0.07 if prior.kind == "disc" and prior.natural == end else 0.005 for end in ("low", "high"))
        assert -1e-6 < (least - low) / (high - low) < below and -1e-6 < (high - most) / (high - low) < above, name
    assert priors["q"].kind == priors["a_3"].kind and priors["q"].kind in ("uniform", "disc")
    assert priors["q"].natural == "high" and priors["a_3"].natural == "low" and priors["Rein"].natural == ""
    assert priors["phi_3"].kind == "angle" and priors["Rein"].unit == "arcsec" and priors["phi"].unit == "rad"
    (prior,) = LogUniform("s", 0.1, 10.0).priors()
    assert (prior.kind, *map(pytest.approx, (0.1, 10.0))) == prior[:3]


def test_the_edges_of_the_prior_map_to_finite_coordinates(space):
    for end in (0, 1):
        params = {b.names[0]: jnp.array((b.low, b.high)[end]) for b in space.blocks}
        params |= {"phi": jnp.array(0.3), "phi_3": jnp.array(0.3)}
        eta = space.to_normal(params)
        assert jnp.isfinite(eta).all()
        again = space.from_normal(eta)
        for b in space.blocks:
            off = NEXT if isinstance(b, Polar) and b.disc else 1e-6  # the pole of a disc is kept NEXT away
            np.testing.assert_allclose(again[b.names[0]], params[b.names[0]], rtol=1e-5, atol=off * (b.high - b.low))


def test_any_orientation_is_taken_modulo_its_period():
    for block in (Q, A3):
        period = 2 * jnp.pi / block.fold
        amplitude = jnp.array(block.low + 0.3 * (block.high - block.low))
        a, b = (block.to_normal(amplitude, jnp.array(0.4) + k * period) for k in (0, -3))
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_maps_trace_under_jit_and_batch():
    space = LensModel().space
    eta = jax.random.normal(jax.random.key(5), (7, 3, 12))
    again = jax.jit(lambda e: space.to_normal(space.from_normal(e)))(eta)
    assert float(jnp.abs(again - eta).max()) < 1e-3


def test_rates_are_those_of_the_parameters_but_for_a_constant():
    space = ParameterSpace((Uniform("t", 0.8, 1.2), Q, LogUniform("flux_scale", 0.5, 8.0)))
    eta = jnp.array([0.7, 0.3, -0.4, -1.2])
    of = lambda name: jax.grad(lambda eta: space.from_normal(eta)[name])(eta)  # noqa: E731
    wanted = np.array([of("t")[0] / 0.4, 1, 1, of("flux_scale")[3] / space.from_normal(eta)["flux_scale"] / np.log(16)])
    np.testing.assert_allclose(space.rates(eta), wanted, rtol=1e-5)
    assert (np.asarray(space.rates(jnp.full(4, 9.0))) > 0).all()
