"""From an observation to a posterior: initialise, sample, collect; every finished part is kept on disk."""

import hashlib
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .. import __version__
from ..config import RunConfig
from ..errors import BlindlensError
from ..lens.mass import LensModel
from ..lens.mge import MultiGaussian
from ..lens.operator import LensOperator
from ..lens.parameters import LogUniform, ParameterSpace
from ..observation import Observation
from ..posterior import Posterior
from ..prior import Denoiser, GaussianPrior, load_prior
from ..progress import Progress
from ..sampler.kernels import Mixture
from ..storage import load_arrays, save_arrays
from .evidence import Evidence, Mode, nuts
from .initialise import distinct, find_modes, laplace_log_weights, polish
from .problem import Problem
from .split_gibbs import Chain, SplitGibbs, SweepInfo, Tuning, gain_bound


def build_problem(
    observation: Observation, prior: Denoiser, lens: LensModel, config: RunConfig, fov: float | None
) -> Problem:
    """The whitened problem; fov None makes `source_fov` a parameter, log-uniform over what the image can hold."""
    image, pixel_scale = observation.image, observation.pixel_scale
    space = lens.space
    peak = float(np.quantile(image[observation.mask], 0.995))
    if config.flux_scale == "infer":
        if not peak > 0:
            raise BlindlensError("the image has no positive flux to scale the prior by; check that it holds the lens")
        guess = peak / (prior.scale * 0.5 + prior.offset)
        space = space + ParameterSpace((LogUniform("flux_scale", guess / 30, guess * 30),))
    field = min(observation.shape) * pixel_scale
    if fov is None:
        space = space + ParameterSpace((LogUniform("source_fov", 0.1 * field, 0.8 * field, "arcsec"),))
    light = None
    if config.lens_light == "mge":
        light = MultiGaussian.spanning(0.4 * pixel_scale, 0.5 * field, 20, 2 * abs(float(image.max())))
        space = space + light.space()
    operator = LensOperator(
        lens, observation.shape, pixel_scale, prior.n, fov or field, observation.psf, None, config.supersampling
    )
    weight = observation.mask / observation.noise
    f32 = jnp.float32
    y = jnp.asarray(image, f32)
    scale = 1.0 if config.flux_scale == "infer" else float(config.flux_scale)
    return Problem(operator, y, jnp.asarray(weight, f32), space, light, prior.scale * scale, prior.offset * scale)


def informed_rank(evidence: Evidence, eta: Array, tail: float, most: int) -> int:
    """How many eigen-galaxies the data inform: the variance (in noise units) of all others sums to less than `tail`."""
    images = evidence.problem.system(eta, evidence.basis, evidence.x0)[1][: evidence.basis.shape[1]]
    left = np.cumsum(np.asarray(jnp.sum(images**2, 1))[::-1])[::-1]
    rank = int(np.count_nonzero(left > tail))
    return min(most, evidence.basis.shape[1], 32 * -(-max(rank, 1) // 32))


def initialise(
    key: Array,
    observation: Observation,
    prior: GaussianPrior,
    lens: LensModel,
    config: RunConfig,
    progress: Progress,
) -> tuple[Mode, float]:
    """The modes found from the image alone, with all of the problem's eigen-galaxies, and the source's field."""
    stage = config.initialise
    k = max(1, round(max(observation.shape) / 64))
    if k % 2 == 0 and any(n % 2 for n in observation.shape):
        k += 1
    fov = config.source_fov
    with progress.stage("initialise", 6) as bar:
        coarse_problem = build_problem(observation.binned(k), prior, lens, config, fov)
        full_problem = build_problem(observation, prior, lens, config, fov)
        coarse = Evidence(coarse_problem, prior.basis[:, : stage.rank], prior.mean)
        middle = Evidence(coarse_problem, prior.basis[:, : 4 * stage.rank], prior.mean)
        modes = find_modes(
            key,
            coarse,
            middle,
            draws=stage.draws,
            starts=stage.starts,
            noise=stage.noise,
            steps=stage.steps,
            rate=stage.rate,
            polish_steps=stage.polish_steps,
            keep=stage.keep,
            within=stage.within * 4,
            report=lambda _: bar.advance(),
        )
        if fov is None:
            params = full_problem.params(modes.eta)
            fov = round(float(params.pop("source_fov")[0]), 3)
            full_problem = build_problem(observation, prior, lens, config, fov)
            modes = modes._replace(eta=full_problem.space.to_normal(params))
        full = Evidence(full_problem, prior.basis, prior.mean)
        rank = informed_rank(full, modes.eta[0], stage.tail, stage.most_rank)
        full = eqx.tree_at(lambda e: e.basis, full, prior.basis[:, :rank])
        modes = jax.tree.map(np.asarray, polish(full, modes.eta, stage.polish_steps))
        bar.advance()
        kept = distinct(modes.eta, modes.log_posterior, modes.factor, stage.keep, stage.within)
        bar.advance()
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[kept]), modes), fov


def fingerprint(observation: Observation, prior: Denoiser, lens: LensModel, config: RunConfig) -> str:
    """A hash of all that decides the result, so that a run resumes only its own work."""
    digest = hashlib.sha256(json.dumps([__version__, prior.name, lens.mass, config.model_dump()], default=str).encode())
    for array in (observation.image, observation.noise, observation.psf, observation.mask):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Store:
    """Finished stages in one folder; None keeps nothing. Files of another run are replaced."""

    def __init__(self, folder: Path | None, mark: str):
        self.folder, self.mark = folder, mark

    def read(self, name: str) -> tuple[dict[str, np.ndarray], dict] | None:
        path = self.folder and self.folder / f"{name}.safetensors"
        if not path or not path.is_file():
            return None
        arrays, header = load_arrays(path)
        return (arrays, header) if header.get("fingerprint") == self.mark else None

    def write(self, name: str, arrays: dict[str, Array], **header: Any) -> None:
        if self.folder is not None:
            plain = {key: np.asarray(value) for key, value in arrays.items()}
            save_arrays(self.folder / f"{name}.safetensors", plain, {"fingerprint": self.mark, **header})

    def clear(self) -> None:
        """Remove the stages once the whole result exists."""
        for path in self.folder.glob("*.safetensors") if self.folder else ():
            if path.stem.rstrip("0123456789") in ("start", "chains", "chain", "block"):
                path.unlink()


def infer(
    observation: Observation,
    prior: Denoiser | str | None = None,
    lens: LensModel | None = None,
    config: RunConfig | None = None,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Draw from p(x, l | y). out: folder in which finished stages are kept, so that the same call resumes.

    prior and lens: by default those of the configuration.

    Raises BlindlensError when the data cannot be used or no start has a finite posterior.
    """
    config = config or RunConfig()
    observation = observation.binned(config.bin) if config.bin > 1 else observation
    prior = prior or config.prior
    prior = load_prior(prior) if isinstance(prior, str) else prior
    lens = lens or LensModel(config.lens.mass, config.lens.ranges)
    progress = progress or Progress()
    gaussian = prior if isinstance(prior, GaussianPrior) else load_prior(config.surrogate, prior.n)
    assert isinstance(gaussian, GaussianPrior)
    if config.method == "evidence" and prior is not gaussian:
        raise BlindlensError("--method evidence needs a Gaussian prior; use --method split_gibbs with this one")
    store = Store(out, fingerprint(observation, prior, lens, config))
    start_key, chain_key, run_key = jax.random.split(jax.random.key(config.seed), 3)

    kept = store.read("start")
    if kept is None:
        modes, fov = initialise(start_key, observation, gaussian, lens, config, progress)
        store.write("start", modes._asdict(), source_fov=fov, seconds=progress.times)
    else:
        modes, fov = Mode(**{k: jnp.asarray(v) for k, v in kept[0].items()}), kept[1]["source_fov"]
        progress.times.update(kept[1]["seconds"])
    if not np.isfinite(modes.log_posterior).any():
        raise BlindlensError("no start explains the image at all; check the noise map, the PSF and the pixel scale")

    problem = build_problem(observation, prior, lens, config, fov)
    full = Evidence(problem, gaussian.basis, gaussian.mean)
    rank = informed_rank(full, modes.eta[0], config.initialise.tail, config.initialise.most_rank)
    full = eqx.tree_at(lambda e: e.basis, full, gaussian.basis[:, :rank])
    sample = sample_evidence if config.method == "evidence" else sample_split_gibbs
    eta, x, a, stats, extra = sample(chain_key, run_key, full, prior, gaussian, modes, config, store, progress)
    if not (np.isfinite(eta).all() and np.isfinite(x).all()):
        raise BlindlensError("the sampler broke down (draws that are not finite); check the noise map and the PSF")
    posterior = collect(observation, prior, problem, config, fov, eta, x, a, stats, extra, progress)
    store.clear()
    return posterior


def sample_evidence(chain_key, run_key, full, prior, gaussian, modes, config, store, progress):
    """NUTS on the evidence, one chain after the other, from the modes in turn; then x | l, y exactly."""
    etas, stats = [], []
    one = eqx.filter_jit(nuts)
    source = eqx.filter_jit(lambda keys, eta: jax.lax.map(lambda ke: full.source(*ke), (keys, eta)))
    xs, lights = [], []
    with progress.stage("sample", config.chains) as bar:
        for k in range(config.chains):
            name = f"chain{k}"
            kept = store.read(name)
            if kept is None:
                mode = jax.tree.map(lambda leaf, k=k: leaf[k % len(modes.eta)], modes)
                eta, s = one(jax.random.fold_in(chain_key, k), full, mode, config.evidence.warmup, config.draws)
                x, a = source(jax.random.split(jax.random.fold_in(run_key, k), config.draws), eta)
                s["chi2_per_pixel"] = jax.vmap(full.problem.chi2)(eta, x, a)
                store.write(name, {"eta": eta, "x": x, "a": a, **{f"stat.{k}": v for k, v in s.items()}})
            else:
                eta, x, a = (jnp.asarray(kept[0][key]) for key in ("eta", "x", "a"))
                s = {key[5:]: value for key, value in kept[0].items() if key.startswith("stat.")}
            for collected, value in zip((etas, xs, lights, stats), (eta, x, a, s), strict=True):
                collected.append(value)
            bar.advance(chi2=float(jnp.mean(s["chi2_per_pixel"])))
    merged = {key: np.stack([np.asarray(s[key]) for s in stats]) for key in stats[0]}
    return jnp.stack(etas), jnp.stack(xs), jnp.stack(lights), merged, {"rank": full.basis.shape[1]}


def sample_split_gibbs(chain_key, run_key, full, prior, gaussian, modes, config, store, progress):
    """Warm up, fit the reference Gaussians to the warm-up's draws, then sample; blocks of sweeps are kept on disk."""
    stage, K, n = config.split_gibbs, config.chains, prior.n
    gain = float(gain_bound(full.problem, modes.eta[0], n))
    rho = float(np.sqrt(stage.bias / gain))
    mixture = Mixture(modes.eta, modes.factor, laplace_log_weights(modes))
    which = np.arange(K) % len(modes.eta)
    keys = jax.vmap(lambda k: jax.random.fold_in(chain_key, k))(jnp.arange(K))
    eta = jax.vmap(lambda k, m, f: m + f @ jax.random.normal(k, m.shape))(keys, modes.eta[which], modes.factor[which])
    x, a = jax.lax.map(lambda ke: full.source(*ke), (keys, eta))
    chains = Chain(eta, x, jnp.zeros_like(x), a)
    tuning = Tuning(modes.eta[which], modes.factor[which], jnp.full(K, 1.0), jnp.full(K, 0.3))

    def sampler(mixture: Mixture) -> SplitGibbs:
        surrogate = None if prior is gaussian else gaussian
        source_steps = 0 if surrogate is None else stage.source_steps
        return SplitGibbs(
            full.problem, prior, surrogate, full.basis, mixture, stage.lens_steps, source_steps,
            stage.diffusion_steps, stage.cg_tolerance, stage.cg_steps,
        )  # fmt: skip

    block = stage.thin * max(1, 8 // stage.thin)
    warm = -(-stage.warmup // block)
    total = warm + -(-config.draws * stage.thin // block)
    traces: list[tuple[Chain, Any]] = []
    start = 0
    kept = store.read("chains")
    if kept is not None:
        state = (chains, tuning, mixture)
        leaves, treedef = jax.tree.flatten(state)
        state = jax.tree.unflatten(treedef, [jnp.asarray(kept[0][f"leaf{i}"]) for i in range(len(leaves))])
        chains, tuning, mixture = state
        start = kept[1]["block"]
        progress.times.update(kept[1]["seconds"])
        for b in range(start):
            part = store.read(f"block{b}")
            if part is None:
                raise BlindlensError(f"a part of the unfinished run in {store.folder} is missing; remove that folder")
            traces.append(_unpack_block(part[0]))
    with progress.stage("sample", total) as bar:
        for b in range(start, total):
            if b == warm:
                mixture, tuning = refit(mixture, tuning, [t[0].eta for t in traces[warm // 2 :]], chains.eta)
            heat = np.linspace(np.log(stage.hottest), 0, max(warm // 2, 1) * block) if b < warm // 2 else None
            rhos = jnp.asarray(rho * (np.ones(block) if heat is None else np.exp(heat[b * block : (b + 1) * block])))
            rhos = rhos.astype(jnp.float32)
            block_keys = jax.random.split(jax.random.fold_in(run_key, b), K)
            run = sampler(mixture).run
            chains, tuning, (trace, info) = run(block_keys, chains, tuning, rhos, jnp.asarray(b < warm))
            thinned = jax.tree.map(lambda t: np.asarray(t[:, stage.thin - 1 :: stage.thin]), (trace, info))
            traces.append(thinned)
            store.write(f"block{b}", _pack_block(thinned))
            state = jax.tree.leaves((chains, tuning, mixture))
            store.write(
                "chains", {f"leaf{i}": v for i, v in enumerate(state)}, block=b + 1, seconds=progress.times
            )
            bar.advance(chi2=float(np.mean(info.chi2_per_pixel)))
    trace, info = jax.tree.map(lambda *t: np.concatenate(t, 1)[:, : config.draws], *traces[warm:])
    stats = {name: getattr(info, name) for name in info._fields}
    extra = {"rank": full.basis.shape[1], "rho": rho, "rho_bias": stage.bias}
    return jnp.asarray(trace.eta), jnp.asarray(trace.x + trace.nu), jnp.asarray(trace.a), stats, extra


def _pack_block(thinned) -> dict[str, np.ndarray]:
    trace, info = thinned
    return {f"chain.{k}": v for k, v in trace._asdict().items()} | {f"info.{k}": v for k, v in info._asdict().items()}


def _unpack_block(arrays: dict[str, np.ndarray]):
    trace = Chain(**{k[6:]: v for k, v in arrays.items() if k.startswith("chain.")})
    return trace, SweepInfo(**{k[5:]: v for k, v in arrays.items() if k.startswith("info.")})


def refit(mixture: Mixture, tuning: Tuning, history: list[np.ndarray], now: Array) -> tuple[Mixture, Tuning]:
    """Reference means, covariances and weights of the modes from warm-up draws, shrunk towards the Laplace ones.

    history: eta (K, sweeps, d) each. A mode keeps its Laplace covariance with the weight of 2 d draws; modes that no
    chain visited stay in the mixture as they are, with the weight of half a draw.
    """
    draws = jnp.asarray(np.concatenate(history, 1).reshape(-1, now.shape[1]))
    d = now.shape[1]

    def nearest(eta: Array) -> Array:
        def distance(mean, factor):
            z = jax.scipy.linalg.solve_triangular(factor, eta - mean, lower=True)
            return jnp.sum(z**2) / 2 + jnp.sum(jnp.log(jnp.diagonal(factor)))

        return jnp.argmin(jax.vmap(distance)(mixture.means, mixture.factors))

    label = np.asarray(jax.vmap(nearest)(draws))
    means, factors, counts = [], [], []
    for k in range(len(mixture.means)):
        mine = np.asarray(draws)[label == k]
        old = np.asarray(mixture.factors[k] @ mixture.factors[k].T)
        if len(mine) > 2:
            mean = mine.mean(0)
            old = (np.cov(mine.T) * len(mine) + 2 * d * old) / (len(mine) + 2 * d)
        else:
            mean = np.asarray(mixture.means[k])
        means.append(mean)
        factors.append(np.linalg.cholesky(old))
        counts.append(len(mine) + 0.5)
    f32 = mixture.means.dtype
    weights = jnp.log(jnp.asarray(counts, f32))
    new = Mixture(jnp.asarray(np.stack(means), f32), jnp.asarray(np.stack(factors), f32), weights)
    which = jax.vmap(nearest)(now)
    return new, tuning._replace(mean=new.means[which], factor=new.factors[which])


def collect(observation, prior, problem, config, fov, eta, x, a, stats, extra, progress) -> Posterior:
    """The Posterior in data units, with the mean model."""
    flat = lambda t: t.reshape(t.shape[0] * t.shape[1], *t.shape[2:])  # noqa: E731

    @jax.jit
    def images(args):
        e, x, a = args
        return problem.source_image(e, x), problem.light_image(e, a)

    model, light = (np.zeros(observation.shape) for _ in range(2))
    count = flat(eta).shape[0]
    with progress.stage("collect", count) as bar:
        for k in range(count):
            s, g = images((flat(eta)[k], flat(x)[k], flat(a)[k]))
            model, light = model + np.asarray(s + g) / count, light + np.asarray(g) / count
            bar.advance()
    params = {name: np.asarray(value) for name, value in problem.params(eta).items()}
    f = params.get("flux_scale", np.ones(1))
    source = f[..., None, None] * np.asarray(problem.scale * x + problem.offset)
    pictures = {"image": model} | ({"lens_light": light} if problem.light is not None else {})
    attrs = {
        "seed": config.seed,
        "prior": prior.name,
        "config": config.model_dump(mode="json"),
        "source_fov": fov,
        "mass": list(problem.operator.lens.mass),
        "warnings": [],
        "times": progress.times,
        **extra,
    }
    return Posterior.from_draws(params, source, stats, observation, pictures, attrs)
