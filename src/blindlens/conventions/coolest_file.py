"""COOLEST's JSON template: a posterior written for other programs, and a lens read from one. It needs no package."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from ..config.physics import PhysicsConfig
from ..cosmology import named
from ..errors import BlindlensError
from ..posterior import Posterior, about_mean
from ..sky import Sky
from ..storage import atomic_write, write_text
from .coolest import from_coolest, to_coolest

ANGLES = {"phi": 180.0, "phi_ext": 180.0}
"""Their periods in degrees."""


def write_coolest(
    posterior: Posterior, path: str | Path, physics: PhysicsConfig, source: np.ndarray | None = None
) -> list[Path]:
    """Write the template to `path` (.json) and the images it names beside it; the files written, the template first.

    A point estimate is the posterior mean (circular for angles) in blindlens's parameters, converted; posterior_stats
    hold mean, median and percentiles 16 and 84 of the converted draws. Multipoles, the lens light (as blurred image)
    and the WCS go into `meta`. Images are filled up to squares with masked pixels: COOLEST's reader takes no others.
    source: pixels (n, n) on a field of the posterior's `source_fov` round its mean (xs, ys); lenstronomy's importer
    refuses to read them.

    Raises BlindlensError for another suffix, and for mass without a counterpart.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise BlindlensError(f"a COOLEST template is a .json file; write to {path}.json instead")
    images = _Images(path)
    scale, shape = posterior.attrs["pixel_scale"], posterior.image("image").shape
    side = max(shape)
    pixels = images.add("image", posterior.image("image"), scale, side)
    noise = images.add("noise", posterior.image("noise"), scale, side, fill=1.0)
    mask = images.add("mask", posterior.image("mask"), scale, side)
    kernel = posterior.tree["constant_data"].to_dataset()["psf"].values
    psf = images.add("psf", kernel, scale, max(kernel.shape))
    light = {}
    if "lens_light" in posterior.tree["model"]:
        light = {"lens_light": images.add("lens-light", posterior.image("lens_light"), scale, side)}
    mean = posterior.mean()
    shown = []
    if source is not None:
        pixel = posterior.attrs["source_fov"] / len(source)
        shown = [_profile("PixelatedRegularGrid", {"pixels": images.add("source", source, pixel, len(source), mean)})]
    mass, multipoles = _mass(posterior, mean)
    shear = [profile for profile in mass if profile["type"] == "ExternalShear"]
    main = [profile for profile in mass if profile["type"] != "ExternalShear"]
    sky = _sky(posterior)
    ra, dec = sky.centre if sky is not None and sky.centre else (0.0, 0.0)
    template = {
        "standard": "COOLEST",
        "mode": "MAP",
        "coordinates_origin": {"ra": f"{ra}d", "dec": f"{dec}d"},
        "observation": {
            "pixels": pixels,
            "noise": {"type": "NoiseMap", "noise_map": noise},
            "exposure_time": None,
            "mag_zero_point": physics.zero_point,
            "mag_sky_brightness": None,
        },
        "instrument": {
            "name": "",
            "band": "",
            "pixel_size": scale,
            "readout_noise": 0.0,
            "psf": {"type": "PixelatedPSF", "description": None, "pixels": psf},
        },
        "likelihoods": [{"type": "ImagingDataLikelihood", "mask": mask}],
        "cosmology": _cosmology(physics),
        "lensing_entities": [
            {"type": "MassField", "name": "external shear", "redshift": physics.z_lens, "mass_model": shear},
            {"type": "Galaxy", "name": "lens", "redshift": physics.z_lens, "light_model": [], "mass_model": main},
            {"type": "Galaxy", "name": "source", "redshift": physics.z_source, "light_model": shown, "mass_model": []},
        ][0 if shear else 1 :],
        "meta": {
            "program": f"blindlens {posterior.attrs['inference_library_version']}",
            "point_estimate": "posterior mean",
            "source_position": {"x": mean["xs"], "y": mean["ys"]},
            "multipoles": multipoles,
            "wcs": posterior.attrs.get("wcs", {}),
            **light,
        },
    }
    _identify(template["lensing_entities"])
    write_text(path, json.dumps(template, indent=2, allow_nan=False) + "\n")
    return [path, *images.written]


def read_coolest(path: str | Path) -> dict[str, float]:
    """The point estimates of the lens in a template, as blindlens's parameters (xs, ys where the file says them).

    The file can be given to `infer` as --init or --lens-params. Raises BlindlensError when it cannot be read, or when
    its lens has no counterpart.
    """
    try:
        template = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BlindlensError(f"{path} is no readable JSON file ({' '.join(str(error).split())})") from None
    if not is_coolest(template):
        raise BlindlensError(f"{path} is JSON but no COOLEST template; its first level lacks 'standard': 'COOLEST'")
    return parameters_of(template, str(path))


def is_coolest(content: Any) -> bool:
    """Whether decoded JSON is a COOLEST template."""
    return isinstance(content, dict) and content.get("standard") == "COOLEST"


def parameters_of(template: Mapping[str, Any], origin: str = "the template") -> dict[str, float]:
    """`read_coolest` of decoded JSON."""
    try:
        names, kwargs = [], []
        for entity in template["lensing_entities"]:
            for profile in entity["mass_model"]:
                names.append(profile["type"])
                kwargs.append({k: _value(v) for k, v in profile["parameters"].items() if "point_estimate" in v})
        meta = template.get("meta") or {}
        p = from_coolest(names, kwargs, meta.get("multipoles", ()))
        if "source_position" in meta:
            p |= {"xs": float(meta["source_position"]["x"]), "ys": float(meta["source_position"]["y"])}
    except BlindlensError as error:
        raise BlindlensError(f"{origin}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BlindlensError(
            f"{origin} is no complete COOLEST template (missing, empty or no number: {error})"
        ) from None
    return p


def _value(parameter: Mapping[str, Any]) -> float:
    return float(parameter["point_estimate"]["value"])


class _Images:
    """FITS files beside the template."""

    def __init__(self, template: Path):
        self.template, self.written = template, []

    def add(
        self, name: str, image: np.ndarray, scale: float, side: int, mean: Mapping[str, float] | None = None, fill=0.0
    ) -> dict[str, Any]:
        """Write (ny, nx) in the middle of side x side pixels; its grid in the template's words.

        mean: the source's position (xs, ys) for an image centred there. A border of an odd number of pixels is one
        wider at the right or the top.
        """
        border = [((side - n) // 2, (side - n + 1) // 2) for n in image.shape]
        square = np.pad(np.asarray(image, np.float64), border, constant_values=fill)
        path = self.template.with_name(f"{self.template.stem}-{name}.fits")
        with atomic_write(path) as temporary:
            fits.PrimaryHDU(square).writeto(temporary)
        self.written.append(path)
        middle = (0.0, 0.0) if mean is None else (mean["ys"], mean["xs"])
        (low_y, low_x) = (m - scale * (n / 2 + b[0]) for m, n, b in zip(middle, image.shape, border, strict=True))
        return {
            "fits_file": {"path": path.name},
            "field_of_view_x": [low_x, low_x + side * scale],
            "field_of_view_y": [low_y, low_y + side * scale],
            "num_pix_x": side,
            "num_pix_y": side,
        }


def _mass(posterior: Posterior, mean: Mapping[str, float]) -> tuple[list[dict], list[dict]]:
    """Profiles with their statistics, and the multipoles of `meta`."""
    draws = {str(name): v.values.ravel() for name, v in posterior.lens.items()}
    names, centre, multipoles = to_coolest(mean)
    _, spread, _ = to_coolest(draws)
    profiles = []
    for name, point, values in zip(names, centre, spread, strict=True):
        parameters = {k: _parameter(float(point[k]), values[k], ANGLES.get(k)) for k in point}
        profiles.append(_profile(name, parameters))
    return profiles, [{k: v if k == "m" else float(v) for k, v in one.items()} for one in multipoles]


def _parameter(point: float, draws: np.ndarray, period: float | None) -> dict[str, Any]:
    if period is not None:
        draws = about_mean(draws, period)
        draws = draws - period * np.round((draws.mean() - point) / period)
    q16, q50, q84 = (float(q) for q in np.quantile(draws, [0.16, 0.5, 0.84]))
    stats = {"mean": float(draws.mean()), "median": q50, "percentile_16th": q16, "percentile_84th": q84}
    fixed = bool(np.ptp(draws) == 0)
    return {"fixed": fixed, "point_estimate": {"value": point}, "posterior_stats": stats, "prior": {"type": None}}


def _profile(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": name, "parameters": parameters}


def _identify(entities: list[dict[str, Any]]) -> None:
    """COOLEST's identifiers of profiles and parameters."""
    for i, entity in enumerate(entities):
        for kind in ("mass", "light"):
            for j, profile in enumerate(entity.get(f"{kind}_model", [])):
                profile["id"] = f"{i}-{entity['type'].lower()}-{kind}-{j}-{profile['type']}"
                for name, parameter in profile["parameters"].items():
                    parameter["id"] = f"{profile['id']}-{name}"


def _cosmology(physics: PhysicsConfig) -> dict[str, Any]:
    """H0 and Om0 of the named cosmology; COOLEST knows flat LambdaCDM only."""
    model = named(physics.cosmology)
    return {"H0": float(model.H0.value), "Om0": float(model.Om0), "astropy_name": "FlatLambdaCDM"}


def _sky(posterior: Posterior) -> Sky | None:
    try:
        return Sky.from_wcs(posterior.attrs.get("wcs", {}), posterior.image("image").shape)
    except BlindlensError:
        return None
