"""Every likelihood score against dense linear algebra, where p(y | x_t) is known exactly."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.guidance import CLA, DPS, MMPS, Cholesky, ConjugateGradients, PiGDM, Spectral, variance
from blindlens.linear import LinearOperator
from blindlens.sampler.schedule import Schedule

N, PIXELS = 5, 18
RNG = np.random.default_rng(3)
B = RNG.normal(size=(N * N, N * N)) * np.geomspace(2, 0.05, N * N)
S, MEAN = B @ B.T / 4, RNG.normal(size=N * N)
DENSE = 2 * RNG.normal(size=(PIXELS, N * N))
X_T, Y = RNG.normal(size=(N, N)), 5 * RNG.normal(size=PIXELS)
SIGMAS = (0.01, 0.3, 3.0, 50.0)


class Dense(LinearOperator):
    """A given matrix."""

    matrix: jax.Array

    @property
    def in_shape(self):
        return (N, N)

    @property
    def out_shape(self):
        return (PIXELS,)

    def mv(self, x):
        return self.matrix @ x.ravel()


class Wide(Dense):
    """The same, of 20 x 20 images."""

    @property
    def in_shape(self):
        return (20, 20)

    @property
    def out_shape(self):
        return (600,)


def denoiser(x_t, sigma):
    gain = jnp.asarray(S) @ jnp.linalg.inv(jnp.asarray(S) + sigma**2 * jnp.eye(N * N))
    return (jnp.asarray(MEAN) + gain @ (x_t.ravel() - jnp.asarray(MEAN))).reshape(N, N)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def gain(sigma):
    """dD/dx_t."""
    return S @ np.linalg.inv(S + sigma**2 * np.eye(N * N))


def formula(method, sigma, r2):
    """The score that each paper writes down, densely."""
    D = MEAN + gain(sigma) @ (X_T.ravel() - MEAN)
    V = np.eye(PIXELS) + r2 * DENSE @ DENSE.T
    if method == "cla":
        return DENSE.T @ np.linalg.solve(V, Y - DENSE @ X_T.ravel())
    if method == "pigdm":
        return gain(sigma).T @ DENSE.T @ np.linalg.solve(V, Y - DENSE @ D)
    return gain(sigma).T @ DENSE.T @ (Y - DENSE @ D)


def exact(sigma):
    """The gradient of log p(y | x_t) with p(x | x_t) = N(D, sigma^2 dD/dx_t)."""
    D = MEAN + gain(sigma) @ (X_T.ravel() - MEAN)
    V = np.eye(PIXELS) + sigma**2 * DENSE @ gain(sigma) @ DENSE.T
    return gain(sigma).T @ DENSE.T @ np.linalg.solve(V, Y - DENSE @ D)


def off(guided, sigma, wanted):
    got = np.asarray(
        eqx.filter_jit(type(guided).likelihood_score)(guided, jnp.asarray(X_T), jnp.asarray(sigma))
    ).ravel()
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


def solvers(A):
    return {"cg": ConjugateGradients(1e-10, 400), "cholesky": Cholesky(), "spectral": Spectral.of(A)}


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("solver", ["cg", "cholesky", "spectral"])
@pytest.mark.parametrize("method", ["cla", "pigdm"])
def test_scores_are_those_of_the_papers(method, solver, sigma):
    A = Dense(jnp.asarray(DENSE))
    rule = variance("cla", 10.0)
    guided = {"cla": CLA, "pigdm": PiGDM}[method](denoiser, A, jnp.asarray(Y), rule, solvers(A)[solver])
    assert off(guided, sigma, formula(method, sigma, sigma**2)) < 1e-5
    assert float(guided.evaluate(jnp.asarray(X_T), jnp.asarray(sigma)).residual) < 1e-5
    # control: another r_t^2
    assert off(guided, sigma, formula(method, sigma, 2 * sigma**2 + 1e-3)) > 1e-3


@pytest.mark.parametrize("sigma", SIGMAS)
def test_dps(sigma):
    A = Dense(jnp.asarray(DENSE))
    guided = DPS(denoiser, A, jnp.asarray(Y))
    assert off(guided, sigma, formula("dps", sigma, 0.0)) < 1e-5
    # one of the published steps, zeta' = 0.3, in each of which log sigma falls by 0.02
    tamed = DPS(denoiser, A, jnp.asarray(Y), zeta=0.3 / 0.02)
    D = denoiser(jnp.asarray(X_T), sigma)
    r = Y - DENSE @ np.asarray(D).ravel()
    moved = 2 * 0.02 * sigma**2 * np.asarray(tamed.likelihood_score(jnp.asarray(X_T), jnp.asarray(sigma))).ravel()
    gradient = -2 * formula("dps", sigma, 0.0)
    np.testing.assert_allclose(moved, -0.3 / np.linalg.norm(r) * gradient, rtol=1e-6)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_mmps_is_exact_for_a_gaussian_prior(sigma):
    A = Dense(jnp.asarray(DENSE))
    guided = MMPS(denoiser, A, jnp.asarray(Y), 1e-10, 200)
    assert off(guided, sigma, exact(sigma)) < 1e-4
    # controls: PiGDM is not, whatever the r_t^2 of a name, nor is MMPS that stops short, and it says so
    for name in ("cla", "pigdm", "eq12-model", "eq12-physical"):
        other = PiGDM(denoiser, A, jnp.asarray(Y), variance(name, 10.0), Cholesky())
        assert sigma < 0.1 or off(other, sigma, exact(sigma)) > 1e-2
    short = MMPS(denoiser, A, jnp.asarray(Y), 1e-10, 2)
    if sigma > 0.1:
        assert off(short, sigma, exact(sigma)) > 1e-4
        assert float(short.evaluate(jnp.asarray(X_T), jnp.asarray(sigma)).residual) > 1e-3


def test_the_residual_of_an_unfinished_solve_is_reported():
    A = Dense(jnp.asarray(DENSE))
    few, many = (CLA(denoiser, A, jnp.asarray(Y), variance("cla", 10.0), ConjugateGradients(1e-9, k)) for k in (3, 300))
    residuals = [float(g.evaluate(jnp.asarray(X_T), jnp.asarray(3.0)).residual) for g in (few, many)]
    assert residuals[0] > 1e-3 and residuals[1] < 1e-8


def test_conjugate_gradients_stopped_early_have_fitted_the_best_determined_part():
    """In single precision, at the condition of the paper's r^2 at sigma_max, 1e9; control: a few steps have not."""
    with jax.enable_x64(False):
        rng = np.random.default_rng(1)
        U, V = (np.linalg.qr(rng.normal(size=(k, 400)))[0] for k in (600, 400))
        s, r2, steps = np.geomspace(30, 0.02, 400), 1e6, 60
        A = Wide(jnp.asarray(U * s @ V.T, jnp.float32))
        v = jnp.asarray(U @ (s * rng.normal(size=400)), jnp.float32)
        wanted = V @ (s / (1 + r2 * s**2) * (U.T @ np.asarray(v, np.float64)))

        def missed(value):
            """In the directions that the data determine best."""
            off = V[:, :100].T @ (np.asarray(value, np.float64).ravel() - wanted)
            return np.linalg.norm(off) / np.linalg.norm(V[:, :100].T @ wanted)

        assert missed(ConjugateGradients(1e-9, steps)(A, jnp.float32(r2), v).value) < 0.05
        assert missed(ConjugateGradients(1e-9, 3)(A, jnp.float32(r2), v).value) > 0.2


def test_variances_by_name():
    schedule = Schedule()
    t, C = 0.6, 10.115
    sigma = schedule.sigma(t)
    s2 = float(sigma) ** 2
    assert s2 == pytest.approx((0.001 * 50_000**t) ** 2)
    assert float(schedule.time(sigma)) == pytest.approx(t)
    wanted = {
        "cla": s2,
        "pigdm": s2 / (1 + s2),
        "eq12-model": s2 * (C**2 * t**4 + 1),
        "eq12-physical": s2 * (C**2 * t**4 + 1) / C**2,
    }
    for name, value in wanted.items():
        assert float(variance(name, C)(sigma)) == pytest.approx(value)
    with pytest.raises(BlindlensError, match="choose one of cla, pigdm"):
        variance("eq12", C)


def test_any_function_is_a_variance():
    A = Dense(jnp.asarray(DENSE))
    guided = PiGDM(denoiser, A, jnp.asarray(Y), lambda sigma: 0.1 * sigma, Cholesky())
    assert off(guided, 0.5, formula("pigdm", 0.5, 0.05)) < 1e-5
