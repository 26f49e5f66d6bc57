"""A x, A^T v, the lens gradient and a sweep: blindlens (JAX, compiled) against caustics (PyTorch, eager), one run.

python benchmarks/operator_speed.py [--chains 16] [--repeats 10]; needs the `oracle` extra. 64 x 64 image of 12",
64 x 64 source of 6.24", 12 parameters, 9 x 9 PSF, one ray a pixel, equally many terms of the EPL series, float32.
caustics runs in the faster of its settings (PSF by FFT or directly, EPL series in one piece or in a loop).
Results are compared before they are timed; best of the repeats, taken in turns.

The sweep is one of the default joint sampler for one chain, 128 directions of the source: log p(y | l) five times and
its gradient four times, and 20 steps of conjugate gradients. caustics traces the rays of one lens once for all
directions; the linear algebra is PyTorch's. Compared is log p(y | l).
"""

import argparse
import time

import caustics
import jax
import jax.numpy as jnp
import numpy as np
import torch

from blindlens.config import SplitGibbsConfig
from blindlens.devices import prepare_jax
from blindlens.inference.evidence import Evidence
from blindlens.inference.parallel import spread
from blindlens.inference.problem import Problem
from blindlens.inference.split_gibbs import Chain, SplitGibbs, Tuning
from blindlens.lens.mass import LensModel
from blindlens.lens.operator import LensOperator
from blindlens.prior import load_prior
from blindlens.sampler.kernels import Mixture

NPIX, SCALE, FOV, SIGMA = 64, 12 / 64, 6.24, 0.1
EVIDENCES, GRADIENTS, CG, DIRECTIONS = 5, 4, 20, 128
# caustics' order of the parameter vector; the image follows
ORDER = ("q", "phi", "Rein", "t", "gamma_1", "gamma_2", "x0", "y0", "a_3", "phi_3", "xs", "ys")


def caustics_simulator(psf, terms, psf_mode, chunk_size):
    """caustics' image of one parameter vector (the lens in ORDER, then the source's pixels)."""
    cosmology = caustics.FlatLambdaCDM(name="cosmology")
    epl = caustics.EPL(cosmology, name="epl", n_iter=terms + 1, chunk_size=chunk_size)
    multipole = caustics.Multipole(cosmology, m=(3,), name="multipole")
    multipole.x0, multipole.y0 = epl.x0, epl.y0
    shear = caustics.ExternalShear(cosmology, x0=0.0, y0=0.0, name="shear")
    lens = caustics.SinglePlane(cosmology, [epl, shear, multipole], z_l=0.5, z_s=1.0, name="lens")
    source = caustics.Pixelated(shape=(NPIX, NPIX), pixelscale=FOV / NPIX, name="source")
    return caustics.LensSource(
        lens, source, pixelscale=SCALE, pixels_x=NPIX, psf=torch.tensor(psf, dtype=torch.float32), psf_mode=psf_mode
    )


def caustics_images(simulator):
    """theta (K, 12), x (K, n, n) -> (K, ny, nx), vectorised over chains."""
    batched = torch.vmap(simulator)
    return lambda theta, x: batched(torch.cat([theta, x.flatten(1)], 1))


def with_caustics(psf, terms, psf_mode, chunk_size):
    """The four functions of (theta (K, 12), x (K, n, n), v (K, ny, nx)), in eager PyTorch, vectorised over chains."""
    simulator = caustics_simulator(psf, terms, psf_mode, chunk_size)
    image = caustics_images(simulator)

    def forward(theta, x, v):
        with torch.no_grad():
            return image(theta, x)

    def adjoint(theta, x, v):
        x = x.clone().requires_grad_()
        return torch.autograd.grad((image(theta, x) * v).sum(), x)[0]

    def gradient(theta, x, v):
        theta = theta.clone().requires_grad_()
        return torch.autograd.grad(0.5 * ((image(theta, x) - v) ** 2).sum(), theta)[0]

    def evidence(theta, basis, pedestal, data):
        # a list of parameters, so that vmap carries the images alone
        columns = torch.cat([basis, pedestal[None]])
        images = torch.vmap(lambda x: simulator([*theta, x]))(columns).flatten(1) / SIGMA
        H, b = images[:-1], data.flatten() / SIGMA - images[-1]
        L = torch.linalg.cholesky(H @ H.T + torch.eye(len(H)))
        c = torch.cholesky_solve((H @ b)[:, None], L)[:, 0]
        return -(((b - c @ H) ** 2).sum() + (c**2).sum()) / 2 - L.diagonal().log().sum()

    def sweep(theta, basis, pedestal, data):
        theta, x, v = theta[:1], pedestal[None], data[None]
        with torch.no_grad():
            value = [evidence(theta[0], basis, pedestal, data) for _ in range(EVIDENCES)][0]
        for _ in range(GRADIENTS):
            free = theta[0].clone().requires_grad_()
            torch.autograd.grad(evidence(free, basis, pedestal, data), free)
        for _ in range(CG):
            forward(theta, x, v), adjoint(theta, x, v)
        return value

    return forward, adjoint, gradient, sweep


def with_blindlens(psf, method):
    """The same three functions, compiled."""
    family = LensOperator(LensModel(), (NPIX, NPIX), SCALE, NPIX, FOV, psf, supersampling=1, psf_method=method)

    def named(theta):
        return dict(zip(ORDER, theta, strict=True))

    def misfit(theta, x, v):
        return 0.5 * jnp.sum((family(named(theta)) @ x - v) ** 2)

    functions = (
        lambda theta, x, v: family(named(theta)) @ x,
        lambda theta, x, v: family(named(theta)).T @ v,
        jax.grad(misfit),
    )

    def of_chains(f):
        """Chains side by side on the devices, one a core, one after the other on each: as the samplers have them."""
        return jax.jit(lambda *items: spread(lambda _, item: f(*item), (), items))

    return *(of_chains(f) for f in functions), sweep_of(family)


def sweep_of(family):
    """A sweep as a function of (theta (K, 12), basis (r, n, n), pedestal, data), with log p(y | l)."""
    prior = load_prior("galaxy-gaussian", NPIX)
    config = SplitGibbsConfig(leaps=3, jumps=2, translations=1, cg_steps=CG, cg_tolerance=1e-30)

    @jax.jit
    def sweep(theta, basis, pedestal, data):
        space, r = family.lens.space, len(basis)
        problem = Problem(family, data, jnp.full(data.shape, 1 / SIGMA), space, None, 1.0, 0.0)
        eta, columns = space.to_normal(dict(zip(ORDER, theta[0], strict=True))), basis.reshape(r, -1).T
        unit = jnp.eye(eta.size)
        mixture = Mixture(eta[None], 1e-3 * unit[None], jnp.zeros(1))
        tuning = Tuning(eta, 1e-3 * unit, jnp.asarray(0.5))
        sampler = SplitGibbs(problem, prior, columns, columns, mixture, config)
        chain = Chain(eta, pedestal, jnp.zeros_like(pedestal), jnp.zeros(0))
        out, *_ = sampler.sweep(jax.random.key(0), chain, tuning, jnp.asarray(0.01))
        # a sixth evidence, at the given lens: what is compared with caustics
        value = Evidence(problem, columns, pedestal).log_evidence(eta)
        return value, out

    return sweep


def difference(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    chains = arguments.chains
    prepare_jax()

    line = np.exp(-4 * np.log(2) * (np.arange(-4, 5) * SCALE / 0.375) ** 2)
    psf = np.outer(line, line) / line.sum() ** 2
    model = LensModel()
    p = model.space.sample(jax.random.key(0), (chains,))
    theta = np.stack([p[name] for name in ORDER], 1)
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:NPIX, :NPIX] - (NPIX - 1) / 2
    x = np.stack([np.exp(-((u - a) ** 2 + (v - b) ** 2) / 60) for a, b in rng.normal(0, 4, (chains, 2))])
    data = np.stack([np.exp(-((np.hypot(u, v) - 8) ** 2) / 10)] * chains)
    inputs = [np.asarray(a, np.float32) for a in (theta, x, data)]

    contenders = {
        ("blindlens", m): (with_blindlens(psf, m), [jnp.asarray(a) for a in inputs]) for m in ("fft", "direct")
    }
    tensors = [torch.tensor(a) for a in inputs]
    for mode in ("fft", "conv2d"):
        for chunk in (None, 1):
            contenders["caustics", f"{mode}, series {'in a loop' if chunk else 'in one piece'}"] = (
                with_caustics(psf, model.terms, mode, chunk), tensors)  # fmt: skip

    basis = rng.normal(size=(DIRECTIONS, NPIX, NPIX)) * np.exp(-(u**2 + v**2) / 200) / 10
    whole = [np.asarray(a, np.float32) for a in (basis, x[0], data[0])]

    def run(key, k):
        functions, arguments = contenders[key]
        kind = jnp.asarray if key[0] == "blindlens" else torch.tensor
        out = functions[k](*(arguments if k < 3 else (arguments[0], *map(kind, whole))))
        if key[0] == "caustics":
            return out.detach().numpy()
        out = jax.block_until_ready(out)
        return np.asarray(out if k < 3 else out[0])

    print(f"{chains} chains on {jax.local_device_count()} devices; torch {torch.__version__} with "
          f"{torch.get_num_threads()} threads, caustics {caustics.__version__}"
          f", jax {jax.__version__} on {jax.devices()[0].platform}")  # fmt: skip
    print(f"{'':14} {'blindlens':>11} {'caustics':>11} {'ratio':>7}   first call   agreement   settings")
    border = np.zeros((NPIX, NPIX), bool)
    border[4:-4, 4:-4] = True
    for k, what in enumerate(("A x", "A^T v", "lens gradient", "sweep, 1 chain")):
        # caustics lights the image's border from outside: compare where it cannot matter, time the whole
        results, first = {}, {}
        for key in contenders:
            start = time.perf_counter()
            results[key] = run(key, k)
            first[key] = time.perf_counter() - start
        ours, theirs = (next(r for key, r in results.items() if key[0] == name) for name in ("blindlens", "caustics"))
        agreement = difference(ours[:, border], theirs[:, border]) if k == 0 else difference(ours, theirs)
        times = dict.fromkeys(contenders, np.inf)
        for _ in range(arguments.repeats):
            for key in contenders:
                start = time.perf_counter()
                run(key, k)
                times[key] = min(times[key], time.perf_counter() - start)
        best = {
            name: min((key for key in times if key[0] == name), key=times.get) for name in ("blindlens", "caustics")
        }
        a, b = times[best["blindlens"]], times[best["caustics"]]
        print(f"{what:14} {1e3 * a:8.1f} ms {1e3 * b:8.1f} ms {b / a:7.1f} {first[best['blindlens']]:10.1f} s "
              f"{agreement:11.1e}   {best['blindlens'][1]} | {best['caustics'][1]}")  # fmt: skip


if __name__ == "__main__":
    main()
