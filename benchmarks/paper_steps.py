"""The steps of arXiv:2511.04792: blindlens (JAX, compiled) against caustics, score_models and Pyro (PyTorch), one run.

python benchmarks/paper_steps.py [--chains 7] [--repeats 3]; needs the `oracle` extra and pyro-ppl.

64 x 64 image of 12", 64 x 64 source of 6.24", 12 parameters, Gaussian PSF, one ray a pixel, float32, all cores.
ULA: 50 Langevin steps of all chains given a source. PiGDM: one evaluation of the guided denoiser with 20 steps of
conjugate gradients, with the paper's NCSN++ (17 M parameters, the same weights; PyTorch in the faster of its memory
layouts) and with a denoiser that costs nothing. NUTS: p(l | y, x) of one chain in units of the Fisher matrix's widths,
100 steps of warm-up and 200 draws at a depth of 6 at the most; the least effective sample size of 12 parameters over
the time of the draws. Best of the repeats, taken in turns; NUTS once. Results are compared before they are timed; the
source fades towards its border, where caustics extrapolates it. Of NUTS all but a_3 and phi_3 are compared: near
a_3 = 0 Pyro's coordinates, linear in the parameters and without walls, are another density in these two.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import pyro
import torch
from network_speed import torch_network
from operator_speed import FOV, NPIX, ORDER, SCALE, caustics_images, caustics_simulator, difference, with_caustics
from pyro.infer import MCMC, NUTS

from blindlens.check.convergence import ess
from blindlens.config import GibbsDDRMConfig, RefineConfig, RunConfig
from blindlens.devices import prepare_jax
from blindlens.guidance import ConjugateGradients, PiGDM
from blindlens.inference.gibbsddrm import GibbsDDRM
from blindlens.inference.problem import build_problem
from blindlens.inference.refine import fisher_factor, lens_given_source
from blindlens.lens.mass import LensModel
from blindlens.lens.simulate import gaussian_psf, simulate
from blindlens.prior import load_prior
from blindlens.prior.networks import NCSNpp, NCSNppConfig
from blindlens.sampler.schedule import Schedule

NOISE, WALK, SIZE, CG, SIGMA = 0.35, 50, 1e-9, 20, 0.5
WARMUP, DRAWS, DEPTH = 100, 200, 6


def best(functions: dict, repeats: int) -> dict[str, float]:
    """Least seconds of each, taken in turns; the first call is not timed."""
    for f in functions.values():
        f()
    times = dict.fromkeys(functions, np.inf)
    for _ in range(repeats):
        for name, f in functions.items():
            begun = time.perf_counter()
            f()
            times[name] = min(times[name], time.perf_counter() - begun)
    return times


def line(what: str, ours: float, theirs: float, unit: str, agreement: float) -> None:
    """One row; ours and theirs in a unit of which more is better."""
    print(f"{what:34} {ours:10.3g} {theirs:10.3g} {unit:22} {ours / theirs:7.1f}   {agreement:.1e}", flush=True)


def pigdm_in_torch(forward, adjoint, denoise, y, r2: float):
    """x_t -> E[x | x_t, y] by the same conjugate gradients for least squares, a fixed number of steps."""
    r = r2**0.5

    def evaluate(x_t):
        x_t = x_t.clone().requires_grad_()
        D = denoise(x_t)
        v = y - forward(D.detach())
        w, rest = torch.zeros_like(D), v
        p = r * adjoint(v)
        size = (p**2).sum()
        for _ in range(CG):
            q = r * forward(p)
            length = size / ((q**2).sum() + (p**2).sum())
            w, rest = w + length * p, rest - length * q
            s = r * adjoint(rest) - w
            new = (s**2).sum()
            p, size = s + new / size * p, new
        return (D + SIGMA**2 * torch.autograd.grad(D, x_t, w / r)[0]).detach()

    return evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    prepare_jax()
    torch.manual_seed(0)

    lens, prior, K = LensModel(), load_prior("galaxy-gaussian"), arguments.chains
    v, u = np.mgrid[:NPIX, :NPIX] - (NPIX - 1) / 2
    fading = np.exp(-(((u**2 + v**2) / 400) ** 2))
    sources = np.asarray(prior.scale * prior.sample(jax.random.key(0), (1,)) + prior.offset) * fading
    made = simulate(jax.random.key(1), sources, lens, supersampling=1, interpolation="bilinear")[0]
    config = RunConfig().replace(flux_scale=1.0, source_fov=FOV, trim=False, supersampling=1, interpolation="bilinear")
    problem = build_problem(made.observation, prior, lens, config, FOV)
    eta = problem.space.to_normal({name: jnp.asarray(value) for name, value in made.truth.items()})
    x = (jnp.asarray(sources[0]) - prior.offset) / prior.scale
    psf = gaussian_psf(0.375, SCALE)
    # both settings of its PSF were timed before (operator_speed.py): directly is the faster one here
    forward, adjoint, gradient, _ = with_caustics(psf, lens.terms, "conv2d", None)
    theta = torch.tensor([[made.truth[name] for name in ORDER]] * K, dtype=torch.float32)
    source, image = (
        torch.tensor(np.asarray(t, np.float32)).expand(K, NPIX, NPIX) for t in (sources[0], made.observation.image)
    )
    print(f"jax {jax.__version__} on {jax.local_device_count()} devices, torch {torch.__version__} with "
          f"{torch.get_num_threads()} threads, pyro {pyro.__version__}")  # fmt: skip
    print(f"{'':34} {'blindlens':>10} {'PyTorch':>10} {'':22} {'ratio':>7}   agreement")

    # ULA
    stage = GibbsDDRMConfig(walk=WALK, size=SIZE, end=False)
    method = GibbsDDRM(problem, prior, jnp.zeros((NPIX**2, 0)), Schedule(), stage)
    keys = jax.random.split(jax.random.key(2), K)
    moved = jnp.tile(method.box.vector(eta), (K, 1)) * (1 + 1e-3)
    log_density = jax.jit(jax.grad(lambda v: method.log_density(v, x, jnp.zeros((NPIX**2, 0)))))
    walk = jax.jit(jax.vmap(lambda key, v: method.lens_walk(key, v, x, jnp.asarray(1e-3)).position))
    names = list(problem.space.names)
    order = [names.index(name) for name in ORDER]
    far = torch.tensor(np.asarray(moved)[:, order])
    slopes = -gradient(far[:1], source[:1], image[:1])[0].numpy() / NOISE**2
    agreement = difference(slopes, np.asarray(log_density(moved[0]))[order])

    def ula():
        v = far
        for _ in range(WALK):
            slope = -gradient(v, source, image) / NOISE**2
            v = v + SIZE * slope + (2 * SIZE) ** 0.5 * torch.randn_like(v)

    times = best({"ours": lambda: walk(keys, moved).block_until_ready(), "theirs": ula}, arguments.repeats)
    line(f"ULA, {K} chains", *(K * WALK / times[name] for name in ("ours", "theirs")), "steps a second", agreement)

    # PiGDM
    network = NCSNpp.init(jax.random.key(0), NCSNppConfig(init_scale=1.0))
    t = float(Schedule().time(SIGMA))
    layouts = {"": torch.contiguous_format, ", channels last": torch.channels_last}
    models = {name: torch_network(network, layout) for name, layout in layouts.items()}
    A, y = problem.measurement(problem.params(eta))
    r2 = SIGMA**2 / (SIGMA**2 + 1)
    C, pedestal = prior.scale, torch.full((1, NPIX, NPIX), float(prior.offset))
    clean = forward(theta[:1], pedestal, image[:1])
    data = (image[:1] - clean) / NOISE
    x_t = x + SIGMA * jax.random.normal(jax.random.key(3), x.shape)
    torch_x_t = torch.tensor(np.asarray(x_t))[None]
    denoisers = {
        "PiGDM step, no network": (lambda x, s: x / (1 + s**2), {"": lambda x: x / (1 + SIGMA**2)}),
        "PiGDM step, NCSN++": (
            lambda x, s: x + s * network(x, jnp.asarray(t)),
            {
                name: lambda x, model=model: x + SIGMA * model(torch.tensor([t]), x[:, None])[:, 0]
                for name, model in models.items()
            },
        ),
    }
    for what, (denoise, rivals) in denoisers.items():
        guided = PiGDM(denoise, A, y, lambda s: s**2 / (s**2 + 1), ConjugateGradients(0.0, CG))
        compiled = jax.jit(lambda x_t, guided=guided: guided(x_t, jnp.asarray(SIGMA)))
        functions = {"ours": lambda f=compiled: f(x_t).block_until_ready()}
        for name, denoise in rivals.items():
            theirs = pigdm_in_torch(
                lambda x: C / NOISE * forward(theta[:1], x, None),
                lambda v: C / NOISE * adjoint(theta[:1], torch.zeros(1, NPIX, NPIX), v),
                denoise,
                data,
                r2,
            )
            functions[f"theirs{name}"] = lambda f=theirs: f(torch_x_t)[0].numpy()
        inner = (slice(4, -4), slice(4, -4))  # caustics lights the image's border from outside
        agreement = difference(functions["theirs"]()[inner], np.asarray(functions["ours"]())[inner])
        times = best(functions, arguments.repeats)
        ours = times.pop("ours")
        line(what, 1 / ours, 1 / min(times.values()), "steps a second", agreement)

    # NUTS
    refine = RefineConfig(precondition=True, step=0.1, warmup=WARMUP, depth=DEPTH)
    a = jnp.zeros((1, 0))

    def nuts(key, samples):
        return jax.block_until_ready(lens_given_source(key[None], problem, eta[None], x[None], a, refine, samples))

    def seconds(samples: int) -> float:
        nuts(jax.random.key(4), samples)
        begun = time.perf_counter()
        nuts(jax.random.key(5), samples)
        return time.perf_counter() - begun

    taken = seconds(DRAWS) - seconds(1)
    drawn = nuts(jax.random.key(5), DRAWS)
    ours = np.stack([np.asarray(v)[0] for v in problem.params(drawn.eta).values()], 1)[:, order]

    W = np.asarray(fisher_factor(problem, eta, x, jnp.zeros(0)))
    to_own = np.asarray(jax.jacfwd(lambda eta: jnp.stack(list(problem.params(eta).values())))(eta))[order]
    widths = torch.tensor((to_own @ W).astype(np.float32))

    def potential(at):
        theta_ = theta[0] + widths @ at["z"]
        return 0.5 * ((image_of(theta_) - image[0]) ** 2).sum() / NOISE**2

    def image_of(theta_):
        return images(theta_[None], source[:1])[0]

    images = caustics_images(caustics_simulator(psf, lens.terms, "conv2d", None))
    marks = []
    kernel = NUTS(potential_fn=potential, step_size=0.1, max_tree_depth=DEPTH)
    mcmc = MCMC(
        kernel,
        num_samples=DRAWS,
        warmup_steps=WARMUP,
        initial_params={"z": torch.zeros(12)},
        disable_progbar=True,
        hook_fn=lambda *_: marks.append(time.perf_counter()),
    )
    mcmc.run()
    z = mcmc.get_samples()["z"].numpy()
    theirs = theta[0].numpy() + z @ widths.numpy().T
    their_time = marks[-1] - marks[WARMUP - 1]

    def effective(draws: np.ndarray) -> float:
        return min(ess(column[None]) for column in draws.T)

    compared = [i for i, name in enumerate(ORDER) if name not in ("a_3", "phi_3")]
    worst = np.max((np.abs(ours.mean(0) - theirs.mean(0)) / theirs.std(0))[compared])
    line("NUTS", effective(ours) / taken, effective(theirs) / their_time, "effective draws a second", worst)
    print(f"NUTS: ESS {effective(ours):.0f} and {effective(theirs):.0f} of {DRAWS}; agreement is the greatest")
    print(f"difference of means in sd; ratios of sd: {np.round((ours.std(0) / theirs.std(0))[compared], 2)}")


if __name__ == "__main__":
    main()
