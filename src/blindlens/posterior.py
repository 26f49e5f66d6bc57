"""Draws of lens and source with the data they explain, in ArviZ's schema; derived quantities; netCDF."""

import datetime
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .check.convergence import convergence_warnings, ess, r_hat
from .check.summaries import source_summaries
from .errors import BlindlensError
from .observation import Observation
from .storage import atomic_write

FORMAT = "blindlens-posterior-1"

PIXEL_FRAME = ("xs", "ys", "flux_scale", "source_fov")
"""Where the source's pixels lie, in what unit and how large they are: the image, and what is said of the source, depend
on these together with the pixels alone (`Posterior.source_numbers`)."""


def period(name: str) -> float | None:
    """The period of an orientation in radians: phi and phi_light pi, phi_m 2 pi / m; None for other parameters."""
    stem, _, rest = name.partition("_")
    if stem != "phi":
        return None
    return 2 * np.pi / int(rest) if rest.isdigit() else np.pi


def unwrapped(name: str, draws: np.ndarray) -> np.ndarray:
    """Draws of an orientation moved by whole periods to within half a period of their circular mean; others as given.

    The circular mean itself lies in [0, period).
    """
    p = period(name)
    return draws if p is None else about_mean(draws, p)


def about_mean(draws: np.ndarray, period: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Draws moved by whole periods to within half a period of their circular mean, which lies in [0, period)."""
    mean = np.angle(np.average(np.exp(2j * np.pi * draws / period), weights=weights)) * period / (2 * np.pi) % period
    return mean + (draws - mean + period / 2) % period - period / 2


class Posterior:
    """The result of `infer`: a wrapper round an xarray.DataTree, `.tree`.

    Groups: posterior (chain, draw): one variable per parameter and `source` (..., y, x), surface brightness in data
    units on a field of `source_fov` arcsec centred on (xs, ys); sample_stats (chain, draw); observed_data: image;
    constant_data: noise, psf, mask; model: mean images in data units; where it was asked for, marginal (source_draw,
    lens_draw): p(l | y) as a mixture of p(l | y, x) over sources. Attributes: version, seed, prior, config, ...
    """

    def __init__(self, tree: xr.DataTree):
        self.tree = tree

    @staticmethod
    def from_draws(
        lens: Mapping[str, np.ndarray],
        source: np.ndarray,
        sample_stats: Mapping[str, np.ndarray],
        observation: Observation,
        model: Mapping[str, np.ndarray],
        attrs: Mapping[str, Any],
    ) -> "Posterior":
        """lens, sample_stats: (chain, draw) each. source: (chain, draw, n, n). model: `image` (ny, nx), the mean model,
        and other images of that shape such as `lens_light`. attrs: at least config (nested plain values) and source_fov
        (arcsec); values that netCDF cannot hold are stored as JSON.
        """
        n, scale = source.shape[-1], observation.pixel_scale
        chain_draw = {"chain": np.arange(source.shape[0]), "draw": np.arange(source.shape[1])}
        x, y = observation.coordinates()
        pixels = {"y": y[:, 0], "x": x[0]}
        side = (np.arange(n) - (n - 1) / 2) * attrs["source_fov"] / n
        plain = ("chain", "draw")

        def images(**arrays: np.ndarray) -> xr.Dataset:
            return xr.Dataset({name: (("y", "x"), np.asarray(a)) for name, a in arrays.items()}, pixels)

        draws = xr.Dataset({name: (plain, np.asarray(a)) for name, a in lens.items()}, chain_draw)
        draws["source"] = ((*plain, "y", "x"), np.asarray(source, np.float32))
        constant = images(noise=observation.noise, mask=observation.mask.astype(np.int8))
        constant["psf"] = (("psf_y", "psf_x"), observation.psf)
        tree = xr.DataTree.from_dict(
            {
                "posterior": draws.assign_coords(y=side, x=side),
                "sample_stats": xr.Dataset({k: (plain, np.asarray(v)) for k, v in sample_stats.items()}, chain_draw),
                "observed_data": images(image=observation.image),
                "constant_data": constant,
                "model": images(**model),
            }
        )
        tree.attrs = {
            "format": FORMAT,
            "inference_library": "blindlens",
            "inference_library_version": importlib.metadata.version("blindlens"),
            "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "name": observation.name,
            "pixel_scale": scale,
            "notes": json.dumps(observation.notes),
            "wcs": json.dumps(observation.header),
            **{k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in attrs.items()},
        }
        return Posterior(tree)

    def add_marginal(self, lens: Mapping[str, np.ndarray]) -> None:
        """Lenses drawn for each of some sources, (source, lens) each: the group `marginal`."""
        axes = ("source_draw", "lens_draw")
        self.tree["marginal"] = xr.DataTree(xr.Dataset({name: (axes, v) for name, v in lens.items()}))

    @property
    def lens(self) -> xr.Dataset:
        """The parameters without the source, (chain, draw) each."""
        return self.tree["posterior"].to_dataset().drop_vars(["source", "y", "x"])

    @property
    def source(self) -> xr.DataArray:
        """(chain, draw, y, x), data units; coordinates in arcsec from the source position."""
        return self.tree["posterior"]["source"]  # type: ignore[return-value]

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes, JSON ones decoded."""
        return {str(key): _decoded(value) for key, value in self.tree.attrs.items()}

    def image(self, name: str) -> np.ndarray:
        """A data-shaped image: "image" (observed), "noise", "mask", "model", "lens_light" where modelled."""
        group = {"image": "observed_data", "noise": "constant_data", "mask": "constant_data"}.get(name, "model")
        return self.tree[group].to_dataset()["image" if name == "model" else name].values

    def source_numbers(self) -> dict[str, np.ndarray]:
        """What the draws say of the source whatever its pixels' frame, (chain, draw) each: `flux`, the sum of its
        surface brightness in data units over its area in image pixels; `r50`, `x`, `y` in arcsec, the half-light radius
        round the centroid and this in the source plane.
        """
        chains, lens = self.source.values, self.lens
        frame = {name: lens[name].values if name in lens else np.zeros(chains.shape[:2]) for name in ("xs", "ys")}
        fov = lens["source_fov"].values if "source_fov" in lens else np.full(chains.shape[:2], self.attrs["source_fov"])
        at = np.stack([frame["xs"], frame["ys"]], 2)
        each = [source_summaries(*chain) for chain in zip(chains, fov, at, strict=True)]
        found = {name: np.stack([numbers[name] for numbers in each]) for name in each[0]}
        flux = found["flux"] / self.attrs["pixel_scale"] ** 2
        return {"flux": flux, "r50": found["r50"], "x": found["centroid_x"], "y": found["centroid_y"]}

    def mean(self) -> dict[str, float]:
        """Posterior means of the parameters, circular for orientations."""
        return {str(k): float(unwrapped(str(k), v.values).mean()) for k, v in self.lens.items()}

    def chi2_of_mean(self) -> float:
        """chi2 per used pixel of the mean model."""
        residual = (self.image("image") - self.image("model")) / self.image("noise")
        return float(np.mean(residual[self.image("mask") != 0] ** 2))

    def summary(self) -> dict[str, Any]:
        """Plain values for a reader: parameters and `source_numbers` (mean, sd, q05, q16, q50, q84, q95, r_hat, ess),
        chi2, times, warnings.

        Orientations are summarised about their circular mean, so a quantile can leave [0, period). `warnings`: those
        of the run and whether the chains agree on the source and on all parameters but its pixels' frame.
        """
        source = self.source_numbers()
        draws = {str(k): unwrapped(str(k), v.values) for k, v in self.lens.items()}
        attrs = self.attrs
        stats = self.tree["sample_stats"].to_dataset()
        chi2 = float(stats["chi2_per_pixel"].mean()) if "chi2_per_pixel" in stats else None
        told = {name: d for name, d in draws.items() if name not in PIXEL_FRAME}
        told |= {f"source's {name}": d for name, d in source.items()}
        return {
            "name": attrs["name"],
            "parameters": {name: _row(d) for name, d in draws.items()},
            "source": {name: _row(d) for name, d in source.items()},
            "chi2_per_pixel": self.chi2_of_mean() if chi2 is None else chi2,
            "chi2_per_pixel_of_mean_model": self.chi2_of_mean(),
            "pixels_used": int(np.sum(self.image("mask") != 0)),
            "chains": self.source.sizes["chain"],
            "draws": self.source.sizes["draw"],
            "source_fov": attrs["source_fov"],
            "times": attrs.get("times", {}),
            "notes": attrs.get("notes", []),
            "warnings": [*attrs.get("warnings", []), *convergence_warnings(told)],
            "version": attrs["inference_library_version"],
            "seed": attrs.get("seed"),
            "prior": attrs.get("prior"),
        }

    def save(self, path: str | Path) -> None:
        """Write netCDF atomically; the source is compressed.

        The file is first made in memory: on a full disk the HDF5 library ends the whole process.
        """
        encoding = {"/posterior": {"source": {"zlib": True, "complevel": 4, "shuffle": True}}}
        content = self.tree.to_netcdf(engine="h5netcdf", encoding=encoding)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)

    @staticmethod
    def load(path: str | Path) -> "Posterior":
        """Read what `save` wrote, all of it into memory; BlindlensError for a missing, corrupt or foreign file."""
        if not Path(path).is_file():
            raise BlindlensError(f"there is no file {path}")
        try:
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                loaded = tree.load()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BlindlensError(f"{path} is not a readable posterior ({reason}); run infer again") from None
        if loaded.attrs.get("format") != FORMAT:
            raise BlindlensError(f"{path} is netCDF but not a posterior of this version of blindlens; run infer again")
        return Posterior(loaded)


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "[{" and value:
        return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _row(draws: np.ndarray) -> dict[str, float | None]:
    return {
        "mean": float(draws.mean()),
        "sd": float(draws.std()) if np.ptp(draws) else 0.0,
        **{f"q{level:02d}": float(np.quantile(draws, level / 100)) for level in (5, 16, 50, 84, 95)},
        "r_hat": _known(r_hat(draws)),
        "ess": _known(ess(draws)),
    }
