"""Simulated systems: a source, a lens, an image with noise, and the truth beside it."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..observation import Observation
from .mass import LensModel
from .operator import LensOperator


class System(NamedTuple):
    """truth: parameters in their own units; source: (n, n) surface brightness; image before noise; the observation."""

    truth: dict[str, float]
    source: np.ndarray
    noiseless: np.ndarray
    observation: Observation


def gaussian_psf(fwhm: float, pixel_scale: float) -> np.ndarray:
    """A pixel-integrated Gaussian kernel, normalised, odd, reaching 3 sigma or more. fwhm, pixel_scale: arcsec."""
    from scipy.special import erf

    sigma = fwhm / 2.3548200450309493 / pixel_scale
    half = int(np.ceil(3 * sigma))
    edges = np.arange(-half, half + 2) - 0.5
    line = np.diff(erf(edges / (np.sqrt(2) * sigma)))
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def simulation_key(seed: int) -> Array:
    """The key of a simulation by seed, in a domain of its own.

    `infer` splits `jax.random.key(seed)`, and splits and folds of a key coincide: with that key, the numbers that a
    truth is drawn from would come again in the search for it.
    """
    return jax.random.fold_in(jax.random.key(seed), 2511_04792)


@eqx.filter_jit
def _noiseless(operator: LensOperator, params: dict[str, Array], source: Array) -> Array:
    return operator(params) @ source


def simulate(
    key: Array,
    sources: np.ndarray,
    lens: LensModel,
    *,
    shape: tuple[int, int] = (64, 64),
    pixel_scale: float = 12 / 64,
    fov: float = 6.24,
    psf_fwhm: float = 0.375,
    sigma: float = 0.35,
    supersampling: int = 8,
    interpolation: str = "cubic",
    core: int | None = None,
    params: dict[str, Array] | None = None,
) -> list[System]:
    """One system per source; the defaults are the set-up of arXiv:2511.04792 with 8 x 8 rays per pixel.

    sources: (K, n, n) surface brightness on a field of `fov` arcsec. params: lens parameters (K,) each, else drawn from
    the lens model's prior. interpolation: of the sources between their pixels; core: rays next to the lens's centre, as
    in LensOperator. sigma: standard deviation of the white noise, in the sources' units. Each system's random numbers
    depend on the key and its index alone.
    """
    psf = gaussian_psf(psf_fwhm, pixel_scale)
    how = {"supersampling": supersampling, "interpolation": interpolation, "core": core}
    operator = LensOperator(lens, shape, pixel_scale, sources.shape[-1], fov, psf, **how)
    systems = []
    for k, source in enumerate(np.asarray(sources)):
        lens_key, noise_key = jax.random.split(jax.random.fold_in(key, k))
        p = lens.space.sample(lens_key, ()) if params is None else {name: v[k] for name, v in params.items()}
        noiseless = np.asarray(_noiseless(operator, p, jnp.asarray(source)))
        image = noiseless + sigma * np.asarray(jax.random.normal(noise_key, shape))
        observation = Observation(
            image=image,
            noise=np.full(shape, sigma),
            psf=psf,
            mask=np.ones(shape, bool),
            pixel_scale=pixel_scale,
            name=f"system{k:04d}",
        )
        systems.append(System({name: float(v) for name, v in p.items()}, source, noiseless, observation))
    return systems
