"""What an image says of the priors' scales, and which of the automatic choices it makes."""

from typing import NamedTuple

import numpy as np

from ..config import RunConfig
from ..observation import Observation
from .light_guess import LightGuess, brightest, light_at_centre, light_guess

OFFSET = 0.1
"""Arcsec by which the centre of a real galaxy's mass may lie off that of its light, along each axis."""


class ImageScales(NamedTuple):
    """field: the shorter side, arcsec. arcs: brightness of what the lens galaxy leaves over (99.5 %). peak: of the
    brightest pixel, without sign. Data units. signal_to_noise: of `arcs` to the typical noise. pixel_scale: arcsec.
    light: a first guess, where light is modelled.
    """

    field: float
    arcs: float
    peak: float
    signal_to_noise: float
    pixel_scale: float
    light: LightGuess | None


def binning(observation: Observation, config: RunConfig) -> int:
    """Pixels a side that are averaged into one for a first look; odd where the image has a middle pixel."""
    k = max(1, round(max(observation.shape) / config.initialise.pixels))
    return k + 1 if k % 2 == 0 and any(n % 2 for n in observation.shape) else k


def image_scales(observation: Observation, config: RunConfig) -> ImageScales:
    """Binned and cropped versions of one image must share these, or their normal coordinates mean different things."""
    k = binning(observation, config)
    seen = observation.binned(k) if k > 1 else observation
    light, arcs = None, observation.image[observation.mask]
    if config.lens_light not in ("auto", "none"):
        light = light_guess(seen)
        arcs = light.arcs
    bright = float(np.quantile(arcs, 0.995))
    return ImageScales(
        min(observation.shape) * observation.pixel_scale,
        bright,
        abs(float(observation.image.max())),
        bright / float(np.median(observation.noise[observation.mask])),
        observation.pixel_scale,
        light,
    )


def settled(config: RunConfig, observation: Observation) -> tuple[RunConfig, list[str]]:
    """The configuration with every `auto` of light and prior ranges decided by the image, and what was, in words."""
    notes, light, priors = [], config.lens_light, config.lens.priors
    if light == "auto":
        without = config.lens_params is not None or config.method not in ("joint", "renoise", "latent", "evidence")
        there = light_at_centre(observation)
        light = "none" if without or not there else "mge2"
        if there and without:
            notes.append(
                "the image has a peak of its own at its centre, but a known lens and this method go without light"
            )
        if light == "mge2":
            notes.append(
                "the image is brightest at its centre: the lens galaxy's own light is modelled (lens_light: mge2)"
            )
    if priors == "auto":
        priors = "paper" if light == "none" else "wide"
        if priors == "wide":
            notes.append("prior ranges are those of real galaxies (lens: priors: wide)")
    ranges = config.lens.prior_ranges(priors)
    if priors == "wide" and light != "none" and config.lens.elliptical:
        # the mass of a real galaxy lies where its light does
        for name, middle in zip(("x0", "y0"), brightest(observation), strict=True):
            ranges = {name: (round(middle - OFFSET, 3), round(middle + OFFSET, 3))} | ranges
    redshifts = {name: getattr(config.lens, name) for name in ("z_lens", "z_source")}
    if "nfw_subhalo" in config.lens.mass:  # elsewhere they change no draw
        redshifts = {name: value or getattr(config.physics, name) for name, value in redshifts.items()}
    lens = {"mass": config.lens.mass, "priors": priors, "ranges": ranges, **redshifts}
    return config.replace(lens_light=light, lens=lens), notes
