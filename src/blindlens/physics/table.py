"""Everything a paper's table wants that is no parameter of the model, with errors from the draws."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..config.physics import PhysicsConfig
from ..cosmology import Distances
from ..errors import BlindlensError
from ..lens.drawn import lens_of
from ..lens.mass import LensModel
from ..posterior import Posterior, about_mean
from ..sky import Sky
from .critical import effective_radius
from .source import fluxes, half_light_radius

MOST = 256
"""Draws, spread evenly, that are used at the most."""

MEANING = {
    "mass_position_angle": ("deg", "major axis of the mass, north through east"),
    "shear": ("", "strength of the external shear"),
    "shear_position_angle": ("deg", "direction along which the shear stretches images, north through east"),
    "light_position_angle": ("deg", "major axis of the lens's light, north through east"),
    "multipole_position_angle": ("deg", "a maximum of the multipole's density, north through east"),
    "effective_einstein_radius": ("arcsec", "sqrt(area within the tangential critical curve / pi)"),
    "einstein_radius_kpc": ("kpc", "Rein at the lens"),
    "einstein_mass": ("Msun", "of the power law within its ellipse of area pi Rein^2, where its mean convergence is 1"),
    "velocity_dispersion": ("km/s", "of the isothermal ellipsoid of this Rein"),
    "magnification": ("", "lensed over unlensed flux of the source"),
    "lensed_flux": ("data units", "of the source, without PSF and mask"),
    "unlensed_flux": ("data units", "of the source, as it were without the lens"),
    "lensed_magnitude": ("AB mag", "of lensed_flux"),
    "unlensed_magnitude": ("AB mag", "of unlensed_flux"),
    "half_light_radius": ("arcsec", "of the source, round its centroid"),
    "half_light_radius_kpc": ("kpc", "of the source, round its centroid"),
}


def derived(posterior: Posterior, physics: PhysicsConfig | None = None) -> dict[str, Any]:
    """Plain values: `values` {name: mean, sd, q16, q50, q84, unit, meaning}, `assumed`, `notes` on what is missing.

    physics: redshifts, cosmology, zero point, orientation; by default those of the run. Angles are summarised about
    their circular mean, so that a quantile can leave [0, 180).
    """
    attrs = posterior.attrs
    physics = physics or settings(posterior)
    sky, notes = orientation(posterior, physics)
    lens, sources = thinned(posterior)
    draws = _light_and_shear(lens)
    values = {name: summary(v) for name, v in draws.items() if not name.endswith("angle")}
    if sky is not None:
        for name, phi in ((k, v) for k, v in draws.items() if k.endswith("angle")):
            values[name] = summary(sky.position_angle(phi), 180.0)
        for m in (int(n[2:]) for n in lens if n.startswith("a_") and n[2:].isdigit()):
            pa = sky.position_angle(lens[f"phi_{m}"], m)
            values[f"multipole{m}_position_angle"] = summary(pa, 360 / m)

    numbers = {}
    try:
        numbers = _lensing(lens_of(posterior), attrs, lens, sources)
    except BlindlensError as error:
        notes.append(f"no magnification, fluxes and effective radius: {error}")
    numbers |= _magnitudes(numbers, physics, notes)
    numbers |= _in_kpc(lens, numbers, physics, notes)
    values |= {name: summary(v) for name, v in numbers.items()}
    for name, row in values.items():
        other = "light_position_angle" if name.startswith("light") else "multipole_position_angle"
        unit, meaning = MEANING.get(name, MEANING[other])
        row |= {"unit": unit, "meaning": meaning}
    order = [*MEANING, *values]
    return {
        "values": {name: values[name] for name in sorted(values, key=order.index)},
        "assumed": physics.model_dump(exclude={"north_up"}) | {"draws": len(sources)},
        "notes": notes,
    }


def _lensing(
    model: LensModel, attrs: dict[str, Any], lens: dict[str, np.ndarray], sources: np.ndarray
) -> dict[str, np.ndarray]:
    """What takes the deflections of every draw. BlindlensError for a mass without an Einstein radius."""
    if "Rein" not in lens:
        raise BlindlensError("the mass has no Einstein radius among its parameters")
    mass = {name: lens[name] for name in model.space.names}
    fov = lens.get("source_fov", np.full(len(sources), attrs["source_fov"]))
    interpolation = attrs["config"].get("interpolation", "cubic")
    lensed, unlensed = fluxes(model, mass, sources, fov, attrs["pixel_scale"], interpolation)
    return {
        "effective_einstein_radius": effective_radius(model, mass),
        "magnification": lensed / unlensed,
        "lensed_flux": lensed,
        "unlensed_flux": unlensed,
        "half_light_radius": half_light_radius(sources, fov),
    }


def _magnitudes(numbers: dict[str, np.ndarray], physics: PhysicsConfig, notes: list[str]) -> dict[str, np.ndarray]:
    """m = zero point - 2.5 log10 flux."""
    found = {kind: numbers[f"{kind}_flux"] for kind in ("lensed", "unlensed") if f"{kind}_flux" in numbers}
    if physics.zero_point is None:
        notes.append("no magnitudes: the zero point is not known; give --zero-point MAG")
        return {}
    if any(flux.min() <= 0 for flux in found.values()):
        notes.append("no magnitudes: the source's flux is not positive in every draw")
        return {}
    return {f"{kind}_magnitude": physics.zero_point - 2.5 * np.log10(flux) for kind, flux in found.items()}


def _in_kpc(
    lens: dict[str, np.ndarray], numbers: dict[str, np.ndarray], physics: PhysicsConfig, notes: list[str]
) -> dict[str, np.ndarray]:
    """What takes the redshifts."""
    if physics.z_lens is None or physics.z_source is None:
        notes.append("no kpc and solar masses: the redshifts are not known; give --z-lens and --z-source")
        return {}
    distances = Distances.between(physics.z_lens, physics.z_source, physics.cosmology)
    found = {}
    if "Rein" in lens:
        found["einstein_radius_kpc"] = lens["Rein"] * distances.kpc_lens
        found["einstein_mass"] = distances.mass(lens["Rein"])
        found["velocity_dispersion"] = distances.velocity_dispersion(lens["Rein"])
    if "half_light_radius" in numbers:
        found["half_light_radius_kpc"] = numbers["half_light_radius"] * distances.kpc_source
    return found


def settings(posterior: Posterior, given: Mapping[str, Any] | None = None) -> PhysicsConfig:
    """What the run was told of the system, `given` in place of it."""
    config = posterior.attrs["config"]
    lens = {name: config.get("lens", {}).get(name) for name in ("z_lens", "z_source")}
    run = {name: value for name, value in config.get("physics", {}).items() if value is not None}
    known = {name: value for name, value in lens.items() if value is not None}
    return PhysicsConfig.from_mapping({**known, **run, **(given or {})}, "physics")


def orientation(posterior: Posterior, physics: PhysicsConfig) -> tuple[Sky | None, list[str]]:
    """Where the image's axes point on the sky, None if that is not known, and notes on it."""
    try:
        sky = Sky.from_wcs(posterior.attrs.get("wcs", {}), posterior.image("image").shape)
    except BlindlensError as error:
        return None, [f"no position angles: {error}"]
    if sky is None and physics.north_up:
        return Sky.north_up(), ["position angles take north as up and east as left, as --north-up says"]
    if sky is None:
        return None, ["no position angles: the image has no WCS; give --north-up if north is up and east left"]
    if physics.north_up and np.abs(sky.axes - Sky.north_up().axes).max() > 0.02:
        return sky, ["--north-up is not true: position angles follow the header's WCS, which says otherwise"]
    return sky, []


def thinned(posterior: Posterior) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters {name: (K,)} and sources (K, n, n) of at most MOST draws, spread evenly."""
    sources = posterior.source.values.reshape(-1, *posterior.source.shape[-2:])
    kept = np.unique(np.linspace(0, len(sources) - 1, min(MOST, len(sources))).round().astype(int))
    return {str(name): v.values.ravel()[kept] for name, v in posterior.lens.items()}, sources[kept]


def _light_and_shear(lens: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The shear's strength, and angles in the image, radians from +x towards +y."""
    found = {"mass_position_angle": lens["phi"]} if "phi" in lens else {}
    if "gamma_1" in lens:
        found["shear"] = np.hypot(lens["gamma_1"], lens["gamma_2"])
        found["shear_position_angle"] = np.arctan2(lens["gamma_2"], lens["gamma_1"]) / 2
    for name in (name for name in lens if name.startswith("phi_light")):  # one for each set of Gaussians
        found[f"{name[len('phi_') :]}_position_angle"] = lens[name]
    return found


def summary(draws: np.ndarray, period: float | None = None) -> dict[str, Any]:
    """mean, sd and quantiles at 16, 50 and 84 %; about the circular mean where there is a period."""
    draws = draws if period is None else about_mean(draws, period)
    q16, q50, q84 = (float(q) for q in np.quantile(draws, [0.16, 0.5, 0.84]))
    sd = float(draws.std()) if np.ptp(draws) else 0.0
    return {"mean": float(draws.mean()), "sd": sd, "q16": q16, "q50": q50, "q84": q84}
