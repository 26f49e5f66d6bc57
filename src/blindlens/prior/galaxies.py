"""Procedural galaxies: as many different sources as one asks for, from nothing but numbers measured on real galaxies.

Each galaxy is a bulge and a disc seen under an angle, with spiral arms, a bar, a ring, flocculence, dust, star-forming
knots, lopsidedness and companions, in proportions that depend on its type. The recipe holds the distributions, `_draw`
draws one galaxy's properties from them (lengths in units of half the field of view), `galaxy_light` paints them.
tests/prior/test_galaxies.py holds their structure against that of 6,500 SDSS galaxies.
"""

import functools
import operator

import jax
import numpy as np

from ..config import Stage
from ..errors import BlindlensError
from .galaxy_light import KNOTS, TEXTURE, WAVES, paint

BATCH = 32  # galaxies painted at once; always that many, so that a galaxy's last digit doesn't depend on n


class GalaxyRecipe(Stage):
    """Distributions of a galaxy's properties: (mean, sd) of a normal, (a, b) of a Beta, (low, high) of a `_range`.

    Sources in the comments; where the number departs from its source, so that the structure of the images agrees with
    SDSS galaxies of the same r50, the comment says so.
    """

    field_of_view: float = 50.0  # kpc a side: SKIRT-TNG, Bottrell et al. 2024
    psf_fwhm: float = 0.9  # pixels
    centre_sd: float = 0.6  # kpc
    # Shares of early and irregular types, the rest being spirals: close to EFIGI, Baillard et al. 2011.
    early: float = 0.27
    irregular: float = 0.08
    log_mass: tuple[float, float] = (10.5, 0.36)  # dex of solar masses: what a flux-limited survey finds
    log_mass_range: tuple[float, float] = (9.4, 11.6)
    # log R / kpc at 10^10.7, slope, scatter: van der Wel et al. 2014 at z = 0.25, zero points 0.1 dex higher.
    late_size: tuple[float, float, float] = (0.96, 0.22, 0.16)
    early_size: tuple[float, float, float] = (0.72, 0.65, 0.12)
    size_range: tuple[float, float] = (1.0, 13.0)  # kpc
    # Bulge to total: the COSMOS galaxies that GalSim ships have a median of 0.12 and a tail to 0.9.
    late_bulge: tuple[float, float] = (0.9, 3.0)
    early_bulge: tuple[float, float] = (5.0, 2.0)
    late_sersic: tuple[float, float] = (0.6, 0.4)  # of log n; most bulges of spirals n < 2, Fisher & Drory 2008
    early_sersic: tuple[float, float] = (1.2, 0.3)  # of log n
    bulge_axis_ratio: tuple[float, float] = (0.78, 0.14)
    disc_thickness: tuple[float, float] = (0.20, 0.06)  # Padilla & Strauss 2008
    disc_break: float = 0.4  # share of truncated discs; Pohlen & Trujillo 2006 have 0.6
    # Structure of discs.
    arms: float = 0.8  # share of spirals with arms; of 1 to 5 arms, mostly 2
    arm_numbers: tuple[float, float, float, float, float] = (0.07, 0.53, 0.22, 0.12, 0.06)
    pitch: tuple[float, float] = (18.0, 6.5)  # degrees, Savchenko & Reshetnikov 2013
    arm_strength_range: tuple[float, float] = (0.1, 1.5)  # arm over interarm - 1, Elmegreen et al. 2011
    bars: float = 0.5  # share of spirals, Barazza et al. 2008
    rings: float = 0.15  # Buta et al. 2015 find more, mostly faint
    flocculence_range: tuple[float, float] = (0.03, 0.25)  # sd of log brightness
    irregular_flocculence: float = 0.4
    dust: float = 0.75  # share of spirals with dust, and its optical depth
    dust_depth_range: tuple[float, float] = (0.2, 1.6)
    knots: tuple[float, float] = (0.8, 14.0)  # Beta, the disc's light in star-forming knots
    irregular_knots: tuple[float, float] = (1.5, 10.0)
    knot_sigma_range: tuple[float, float] = (0.12, 0.45)  # kpc
    knot_slope: float = 1.0  # of the cumulative luminosity function, Kennicutt, Edgar & Hodge 1989
    # Asymmetry.
    lopsided: tuple[float, float] = (-2.4, 0.6)  # of log A1: a tenth above 0.2; Zaritsky & Rix 1997 have more
    warp: tuple[float, float] = (-3.2, 0.6)  # of log of the relative displacement of isophotes
    irregular_warp: float = 0.6  # added to the former in irregulars and in pairs
    companions: float = 0.25  # share of galaxies with one; SDSS stamps, by eye
    companion_log_flux_range: tuple[float, float] = (-1.7, -0.15)
    companion_distance_range: tuple[float, float] = (5.0, 24.0)  # kpc
    tidal: float = 0.5  # share of pairs with a tail
    # Light, in the unit in which 98 % of all pixels lie below 10.115.
    mass_to_light: tuple[float, float] = (0.8, 0.2)  # d log flux / d log mass, and scatter in dex
    brightness: float = 3.25e3  # sum over 64x64 pixels of a galaxy of 10^10.5 solar masses


def galaxies(
    seed: int | np.random.Generator, n: int, npix: int = 64, recipe: GalaxyRecipe | None = None, first: int = 0
) -> np.ndarray:
    """Surface brightness (n, npix, npix) float32 of the galaxies number `first` to `first + n - 1` of this seed.

    The stamp is the recipe's field of view; the unit is s of DESIGN's s = C x + M whatever npix; no sky, no noise.
    seed: an integer, or a numpy Generator that one is drawn from. A galaxy depends on (seed, number, npix, recipe)
    alone. Raises BlindlensError for a negative count, a stamp of under 8 pixels or shares of types that exceed 1.
    """
    if isinstance(seed, np.random.Generator):
        seed = int(seed.integers(2**62))
    seed, n, npix, first = map(operator.index, (seed, n, npix, first))
    if min(seed, n, first) < 0:
        raise BlindlensError(f"galaxies() takes seed, n and first >= 0, not {seed}, {n} and {first}.")
    if npix < 8:
        raise BlindlensError(f"galaxies() paints stamps of at least 8 pixels a side, not {npix}.")
    recipe = recipe or GalaxyRecipe()
    if not (recipe.early >= 0 and recipe.irregular >= 0 and recipe.early + recipe.irregular <= 1):
        raise BlindlensError("The recipe's shares `early` and `irregular` must not be negative or exceed 1 together.")
    out = np.empty((n, npix, npix), np.float32)
    for start in range(first - first % BATCH, first + n, BATCH):
        drawn = [_draw(np.random.default_rng((seed, start + i)), recipe) for i in range(BATCH)]
        images = np.asarray(_painter(npix, recipe.psf_fwhm)(jax.tree.map(_stack, *drawn)))
        low, high = max(first, start), min(first + n, start + BATCH)
        out[low - first : high - first] = images[low - start : high - start]
    return out


def _stack(*values: object) -> np.ndarray:
    return np.asarray(values, np.float32)


@functools.cache
def _painter(npix: int, psf_fwhm: float):
    return jax.jit(jax.vmap(functools.partial(paint, npix=npix, psf_fwhm=psf_fwhm)))


def _draw(rng: np.random.Generator, recipe: GalaxyRecipe) -> dict:
    """One galaxy's properties: a flat dict of numbers and arrays; galaxy_light says what each of them does."""
    r = recipe
    kpc = 2 / r.field_of_view
    kind = rng.choice(3, p=(1 - r.early - r.irregular, r.early, r.irregular))
    late, early, irregular = (kind == k for k in range(3))
    log_mass = np.clip(rng.normal(*r.log_mass) - 0.5 * irregular, *r.log_mass_range)
    zero, slope, scatter = r.early_size if early else r.late_size
    size = kpc * np.clip(10 ** (zero + slope * (log_mass - 10.7) + scatter * rng.normal()), *r.size_range)
    bulge = rng.beta(*(r.early_bulge if early else r.late_bulge)) * (0.2 if irregular else 1)
    cos_i = rng.random()
    thickness = np.clip(rng.normal(*r.disc_thickness), 0.12, 0.5) + 0.15 * irregular
    bar = not early and rng.random() < r.bars * (0.6 if irregular else 1)
    pair = rng.random() < r.companions
    log_ratio = rng.uniform(*r.companion_log_flux_range)
    upset = pair and log_ratio > -0.7  # a companion of over a fifth of the light disturbs its host
    height, angle, distance = size / 1.678, rng.uniform(0, 2 * np.pi), kpc * rng.uniform(*r.companion_distance_range)
    floc = r.irregular_flocculence if irregular else rng.uniform(*r.flocculence_range) * late
    dusty = late and rng.random() < r.dust
    knot_share = rng.beta(*(r.irregular_knots if irregular else r.knots)) * (not early)
    luminosity = np.minimum(rng.pareto(r.knot_slope, KNOTS) + 1, 15) * (np.arange(KNOTS) < KNOTS ** rng.uniform(0.6, 1))
    return {
        "flux": r.brightness
        * (r.field_of_view / 50) ** -2
        * 10 ** (r.mass_to_light[0] * (log_mass - 10.5) + r.mass_to_light[1] * rng.normal()),
        "centre": kpc * rng.normal(0, r.centre_sd, 2),
        "angle": rng.uniform(0, 2 * np.pi),
        "bulge": bulge,
        "bulge_size": size * (rng.uniform(0.8, 1.1) if early else rng.uniform(0.1, 0.4)),
        "bulge_sersic": np.clip(np.exp(rng.normal(*(r.early_sersic if early else r.late_sersic))), 0.8, 5.5),
        "bulge_q": np.clip(rng.normal(*r.bulge_axis_ratio), 0.4, 1.0),
        "bulge_offset": 0.05 * height * rng.normal(size=2) * (3 if irregular else 1),
        "height": height,
        "q": np.sqrt(thickness**2 + (1 - thickness**2) * cos_i**2),
        "break": rng.uniform(2.0, 4.0) if rng.random() < r.disc_break else 50.0,
        "arm_count": 1.0 + rng.choice(5, p=r.arm_numbers),
        "arm_strength": late * (rng.random() < r.arms) * rng.uniform(*r.arm_strength_range),
        "arm_sharpness": rng.uniform(0.6, 2.8),
        "arm_inequality": rng.uniform(0, 0.6),
        "winding": rng.choice((-1, 1)) / np.tan(np.deg2rad(np.clip(rng.normal(*r.pitch), 8, 40))),
        "arm_reach": rng.uniform(2.0, 4.5),
        "arm_wobble": rng.uniform(0.05, 0.5),
        "wobble_phase": rng.uniform(0, 2 * np.pi),
        "bar": bar * rng.uniform(0.5, 3.0),
        "bar_length": height * rng.uniform(0.6, 1.5),
        "bar_width": rng.uniform(0.22, 0.45),
        "ring": (late and rng.random() < r.rings) * rng.uniform(0.4, 1.5),
        "phase": rng.uniform(0, 2 * np.pi),
        "flocculence": floc,
        "texture_slope": rng.uniform(1.2, 2.2),
        "texture": rng.normal(size=(TEXTURE, TEXTURE)),
        "dust": dusty * rng.uniform(*r.dust_depth_range),
        "lane_offset": 0.12 * height * rng.normal(),
        "lopsided": min(np.exp(rng.normal(*r.lopsided)) * (0.3 if early else 1 + irregular), 0.7),
        "warp": min(np.exp(rng.normal(*r.warp) + r.irregular_warp * (irregular or upset)) * (0.3 if early else 1), 0.3),
        "waves": rng.normal(size=(2, 2 * WAVES, 2 * WAVES)) / WAVES,
        "knots": knot_share,
        "knot_flux": luminosity / luminosity.sum(),
        "knot_sigma": kpc * rng.uniform(*r.knot_sigma_range, KNOTS),
        "knot_place": rng.random((KNOTS, 3)),
        "companion": pair * 10**log_ratio,
        "companion_centre": distance * np.array([np.cos(angle), np.sin(angle)]),
        "companion_size": np.clip(size * 10 ** (0.4 * log_ratio + 0.12 * rng.normal()), 0.5 * kpc, None),
        "companion_sersic": np.clip(np.exp(rng.normal(0.3, 0.5)), 0.6, 4.0),
        "companion_q": rng.uniform(0.3, 1.0),
        "companion_angle": rng.uniform(0, np.pi),
        "tail": (pair and rng.random() < r.tidal) * rng.uniform(0.1, 0.6) * 10 ** (0.5 * log_ratio),
        "tail_angle": angle,
    }
