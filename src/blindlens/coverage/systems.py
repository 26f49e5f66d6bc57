"""The systems of a study of coverage: each from its number alone, whatever their number."""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..config import CoverageConfig, RunConfig
from ..errors import BlindlensError
from ..inference.pipeline import renoised, surrogate
from ..inference.problem import rays
from ..inference.scales import image_scales
from ..lens.mass import LensModel
from ..lens.simulate import System, gaussian_psf, simulate, simulation_key
from ..prior import Denoiser, load_prior
from ..prior.data import Images, open_images

FEWEST = 8
"""Draws a system that are ranked, and as many that choose where to look."""


class Setting(NamedTuple):
    """What all systems share. images: the sources, None for draws of the prior. lens: as inferred; true_lens: as the
    images are made. components: (n*n, m), of the surrogate prior, and its mean, in surface brightness.
    """

    config: CoverageConfig
    prior: Denoiser
    images: Images | None
    lens: LensModel
    true_lens: LensModel
    mean: np.ndarray
    components: np.ndarray

    def run(self, k: int) -> RunConfig:
        """How system number k is inferred."""
        run, systems = self.config.run, self.config.systems
        nothing_else = {"lens_light": "none", "contaminants": "keep", "lens": {**dict(run.lens), "priors": "paper"}}
        return run.replace(source_fov=systems.source_fov, flux_scale=1.0, seed=run.seed + k, **nothing_else)


def setting(config: CoverageConfig) -> Setting:
    """Load what the study needs. BlindlensError where draws are too few to be ranked."""
    run, n = config.run, config.systems.source_pixels
    prior = load_prior(run.prior, n)
    chains, draws = run.size(renoised(prior, run))
    half = (chains // 2) * draws if chains > 1 else draws // 2
    if half < FEWEST or draws < 4:
        raise BlindlensError(
            f"coverage ranks {FEWEST} draws or more and sets as many aside: give half of run.chains times run.draws of "
            f"{FEWEST} or more, and run.draws of 4 or more"
        )
    images = None if config.systems.sources == "prior" else open_images(config.systems.sources, n)
    gaussian = surrogate(prior, run)
    lens, true_lens = (LensModel(**of.arguments()) for of in (run.lens, config.systems.lens or run.lens))
    mean = gaussian.scale * np.asarray(gaussian.mean) + gaussian.offset
    components = gaussian.scale * np.asarray(gaussian.basis[:, : config.components])
    return Setting(config, prior, images, lens, true_lens, mean, components)


@eqx.filter_jit
def _drawn(prior: Denoiser, key: Array) -> Array:
    return prior.scale * prior.sample(key, (1,))[0] + prior.offset


@jax.default_matmul_precision("highest")
def system(study: Setting, k: int) -> System:
    """System number k, whatever the number of systems; its observation has the PSF and noise that are assumed."""
    of, run, prior = study.config.systems, study.run(k), study.prior
    key = jax.random.fold_in(simulation_key(study.config.run.seed), k)
    if study.images is None:
        source = _drawn(prior, jax.random.fold_in(key, 1))
    else:
        source = study.images.read(np.array([k]))[0]

    def simulated(**how: Any) -> System:
        (made,) = simulate(
            jax.random.fold_in(key, 2),
            of.brightness * np.asarray(source)[None],
            study.true_lens,
            shape=(of.pixels, of.pixels),
            pixel_scale=of.pixel_scale,
            fov=of.source_fov,
            psf_fwhm=of.psf_fwhm,
            sigma=of.noise,
            **how,
        )
        psf = gaussian_psf(of.psf_error * of.psf_fwhm, of.pixel_scale)
        told = replace(made.observation, psf=psf, noise=of.noise_error * made.observation.noise, name=f"system{k:04d}")
        return made._replace(observation=told)

    made = simulated(supersampling=of.rays or 8, interpolation="cubic")
    # a truth outside what is inferred could not be ranked: better told now
    study.lens.space.to_normal({name: jnp.asarray(made.truth[name]) for name in study.lens.space.names})
    if of.rays is not None:
        return made
    # the rays of the operator that infers depend on how bright the arcs are
    bright = image_scales(made.observation, run).signal_to_noise
    each, core = rays(run, of.pixel_scale, of.source_fov / prior.n, bright)
    return simulated(supersampling=each, interpolation=run.interpolation, core=core)
