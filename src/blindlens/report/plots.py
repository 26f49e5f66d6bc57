"""Pictures of a posterior: what was seen, what explains it, what is left, and what is not known."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure

from ..check.residuals import normalised_residual
from ..errors import BlindlensError
from ..lens.critical import caustics, critical_lines
from ..lens.drawn import lens_of
from ..posterior import Posterior
from .pictures import LIGHT, SIGNED, SPREAD, Panel, light_stretch
from .words import findings, symbol, value_with_error


def report_figure(posterior: Posterior, summary: dict[str, Any] | None = None) -> Figure:
    """Data, mean model, normalised residual; source mean and sd; parameters and a verdict in words.

    Critical lines are drawn on the data, caustics on the source, both of the posterior mean lens. With lens light a
    panel shows the data without it. `summary` defaults to the posterior's own.
    """
    summary = posterior.summary() if summary is None else summary
    critical, caustic = lens_lines(posterior)
    above, below = data_panels(posterior, critical), source_panels(posterior, caustic)
    shown = [above[key] for key in ("data", "arcs", "model", "residual") if key in above]
    columns = len(shown)
    text = findings(summary, 46 * columns)
    strip = 0.16 * (text.count("\n") + 1) + 0.15  # inches: all of it is read, however much there is to say
    figure = Figure(figsize=(4.4 * columns, 8.2 + strip), layout="constrained")
    grid = figure.add_gridspec(3, columns, height_ratios=(4.1, 4.1, strip))
    for row, panels in enumerate((shown, below)):
        for column, panel in enumerate(panels):
            panel.draw(figure.add_subplot(grid[row, column]))
    _table(figure.add_subplot(grid[1, 2:]), summary)
    words = figure.add_subplot(grid[2, :])
    words.axis("off")
    words.text(0, 1, text, va="top", fontsize=9, in_layout=False)
    figure.suptitle(summary["name"])
    return figure


def data_panels(posterior: Posterior, critical: Sequence[np.ndarray]) -> dict[str, Panel]:
    """data, model, residual; with lens light also arcs (data without it), light, and lensed (source) alone.

    Light is on an arcsinh stretch that is linear below two standard deviations of the noise.
    """
    used = posterior.image("mask") != 0
    image, model = (np.where(used, posterior.image(k), np.nan) for k in ("image", "model"))
    sigma = float(np.median(posterior.image("noise")[used]))
    half = (image.shape[0] * posterior.attrs["pixel_scale"] / 2, image.shape[1] * posterior.attrs["pixel_scale"] / 2)

    def stretch(values: np.ndarray) -> AsinhNorm:
        return AsinhNorm(2 * sigma, -2 * sigma, max(float(np.nanquantile(values, 0.9995)), 5 * sigma))

    whole = stretch(image)
    panels = {
        "data": Panel("data, critical lines", image, half, whole, LIGHT, critical),
        "model": Panel("mean model", model, half, whole, LIGHT),
        "residual": Panel("(data − model) / noise", normalised_residual(posterior), half, Normalize(-4, 4), SIGNED),
    }
    if "lens_light" in posterior.tree["model"]:
        light = posterior.image("lens_light")
        arcs = stretch(model - light)
        panels["arcs"] = Panel("data without lens light", image - light, half, arcs, LIGHT)
        panels["light"] = Panel("lens light", light, half, whole, LIGHT)
        panels["lensed"] = Panel("lensed source", posterior.image("model") - light, half, arcs, LIGHT)
    return panels


def source_panels(posterior: Posterior, caustic: Sequence[np.ndarray], draws: int = 0) -> list[Panel]:
    """The source's mean with caustics, its standard deviation, some draws on the mean's stretch, all in one frame."""
    source = sources_in_one_frame(posterior)
    half = (posterior.attrs["source_fov"] / 2,) * 2
    mean, spread = source.mean(0), source.std(0)
    norm = light_stretch(mean)
    panels = [
        Panel("source, mean; caustics", mean, half, norm, LIGHT, caustic),
        Panel("source, standard deviation", spread, half, Normalize(0, float(spread.max()) or 1.0), SPREAD),
    ]
    length = posterior.source.sizes["draw"]
    for k in np.unique(np.linspace(0, len(source) - 1, draws).round().astype(int)):
        panels.append(Panel(f"chain {k // length + 1}, draw {k % length + 1}", source[k], half, norm, LIGHT, caustic))
    return panels


def input_panels(posterior: Posterior) -> list[Panel]:
    """Noise, mask and PSF, and whatever other image of the data's shape is kept with them."""
    constant = posterior.tree["constant_data"].to_dataset()
    scale, used = posterior.attrs["pixel_scale"], constant["mask"].values != 0
    noise, psf = np.where(used, constant["noise"].values, np.nan), constant["psf"].values
    low, high = np.nanquantile(noise, (0.001, 0.999))
    noise_norm = Normalize(float(low), float(high) if high > low else 1.01 * float(low))
    peak = float(psf.max())

    def half(values: np.ndarray) -> tuple[float, float]:
        return values.shape[0] * scale / 2, values.shape[1] * scale / 2

    title = "mask: all pixels are used" if used.all() else "mask: used light, masked dark"
    others = [name for name, v in constant.items() if v.dims == ("y", "x") and name not in ("noise", "mask")]
    return [
        Panel("noise, standard deviation", noise, half(noise), noise_norm, SPREAD),
        Panel(title, used + 0.0, half(used), Normalize(-0.3, 1.1), "gray", colour_bar=False),
        Panel("PSF", psf, half(psf), AsinhNorm(0.01 * peak, 0, peak), LIGHT),
        *(Panel(str(k), constant[k].values, half(used), Normalize(), SPREAD) for k in others),
    ]


def lens_lines(posterior: Posterior) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Critical lines, and caustics relative to the source position, of the posterior mean lens; arcsec.

    None of a lens that its configuration does not describe (an object given in Python).
    """
    mean = posterior.mean()
    try:
        model = lens_of(posterior)
    except BlindlensError:
        return [], []
    p = {name: jnp.asarray(value) for name, value in mean.items()}
    half = max(posterior.image("image").shape) * posterior.attrs["pixel_scale"] / 2
    centre = np.array([mean["xs"], mean["ys"]])
    return critical_lines(model, p, half), [line - centre for line in caustics(model, p, half)]


def sources_in_one_frame(posterior: Posterior, centre: tuple[float, float] | None = None) -> np.ndarray:
    """The draws' sources (draws, n, n) on one field, `source_fov` of attrs wide and centred on (xs, ys) = `centre`.

    centre: by default the mean of the draws'. Each draw's own field is centred on its own (xs, ys), and has its own
    width if that was sampled: averaged as they are, draws that differ in it blur the source or show it twice. Bilinear.
    """
    source = posterior.source.values.reshape(-1, *posterior.source.shape[-2:])
    n, side, draws = source.shape[-1], posterior.attrs["source_fov"], posterior.lens
    position = np.stack([draws[name].values.ravel() for name in ("ys", "xs")], 1)
    middle = position.mean(0) if centre is None else np.array(centre[::-1])
    fov = draws["source_fov"].values.ravel() if "source_fov" in draws else np.full(len(source), side)
    half = (n - 1) / 2
    return np.stack(
        [
            scipy.ndimage.affine_transform(
                x, np.full(2, side / f), half * (1 - side / f) + (middle - at) * n / f, order=1
            )
            for x, at, f in zip(source, position, fov, strict=True)
        ]
    )


def _table(axes: Axes, summary: dict) -> None:
    """Parameters with mean ± sd and r_hat."""
    axes.axis("off")
    rows = [
        [symbol(name), value_with_error(row["mean"], row["sd"]), "–" if row["r_hat"] is None else f"{row['r_hat']:.2f}"]
        for name, row in summary["parameters"].items()
    ]
    height = min(1.0, 0.06 * (len(rows) + 1))
    table = axes.table(
        rows,
        colLabels=["parameter", "mean ± sd", r"$\hat R$"],
        colWidths=[0.3, 0.5, 0.2],
        cellLoc="left",
        edges="horizontal",
        bbox=(0, 1 - height, 1, height),  # type: ignore[arg-type]
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for cell in table.get_celld().values():
        cell.set_edgecolor("0.85")
