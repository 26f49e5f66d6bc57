"""Pictures of a posterior: what was seen, what explains it, what is left, and what is not known."""

import corner
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure

from ..check.residuals import normalised_residual
from ..lens.critical import caustics, critical_lines
from ..lens.mass import LensModel
from ..posterior import Posterior, unwrapped
from .words import symbol, value_with_error, verdict

LIGHT, SPREAD, SIGNED, GREY = "inferno", "viridis", "RdBu_r", "0.6"


def report_figure(posterior: Posterior, warnings: list[str] | None = None) -> Figure:
    """Data, mean model, normalised residual; source mean and sd; parameters and a verdict in words.

    Critical lines are drawn on the data, caustics on the source, both of the posterior mean lens. With lens light a
    panel shows the data without it. `warnings` default to those of the posterior's summary.
    """
    summary = posterior.summary()
    warnings = summary["warnings"] if warnings is None else warnings
    light = "lens_light" in posterior.tree["model"]
    columns = 4 if light else 3
    figure = Figure(figsize=(4.4 * columns, 8.2), layout="constrained")
    grid = figure.add_gridspec(2, columns)
    critical, caustic = lens_lines(posterior)

    used = posterior.image("mask") != 0
    image, model = (np.where(used, posterior.image(k), np.nan) for k in ("image", "model"))
    sigma = float(np.median(posterior.image("noise")[used]))
    stretch = AsinhNorm(2 * sigma, -2 * sigma, max(float(np.nanquantile(image, 0.9995)), 5 * sigma))
    panels = [("data, critical lines", image, stretch, LIGHT), ("mean model", model, stretch, LIGHT)]
    if light:
        arcs = image - posterior.image("lens_light")
        peak = max(float(np.nanquantile(model - posterior.image("lens_light"), 0.9995)), 5 * sigma)
        panels.insert(1, ("data without lens light", arcs, AsinhNorm(2 * sigma, -2 * sigma, peak), LIGHT))
    panels.append(("(data − model) / noise", normalised_residual(posterior), Normalize(-4, 4), SIGNED))
    half = np.array(image.shape) * posterior.attrs["pixel_scale"] / 2
    for column, (title, values, norm, colours) in enumerate(panels):
        axes = figure.add_subplot(grid[0, column])
        picture(axes, values, (-half[1], half[1], -half[0], half[0]), norm, colours, title)
        if column == 0:
            overlay(axes, critical, "white")

    source = posterior.source.values.reshape(-1, *posterior.source.shape[-2:])
    side = posterior.attrs["source_fov"] / 2
    mean, spread = source.mean(0), source.std(0)
    for column, (title, values, norm, colours) in enumerate(
        [
            ("source, mean; caustics", mean, _stretch(mean), LIGHT),
            ("source, standard deviation", spread, Normalize(0, float(spread.max()) or 1.0), SPREAD),
        ]
    ):
        axes = figure.add_subplot(grid[1, column])
        picture(axes, values, (-side, side, -side, side), norm, colours, title)
        if column == 0:
            overlay(axes, caustic, "white")
    _table(figure.add_subplot(grid[1, 2:]), summary, warnings, width=58 if columns == 3 else 110)
    figure.suptitle(summary["name"])
    return figure


def picture(axes: Axes, values: np.ndarray, extent: tuple, norm: Normalize, colours: str, title: str) -> None:
    """One image in arcsec, row 0 at the bottom, NaN in grey, with its colour bar."""
    axes.set_facecolor(GREY)
    shown = axes.imshow(values, origin="lower", extent=extent, norm=norm, cmap=colours, interpolation="nearest")
    axes.set(title=title, xlabel="x [arcsec]", ylabel="y [arcsec]")
    _colour_bar(axes, shown, norm)


def overlay(axes: Axes, lines: list[np.ndarray], colour: str) -> None:
    """Curves (k, 2) on top of a picture, whose limits stay."""
    axes.autoscale(False)
    for line in lines:
        axes.plot(*line.T, color=colour, lw=0.9)


def lens_lines(posterior: Posterior) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Critical lines, and caustics relative to the source position, of the posterior mean lens; arcsec."""
    mean = posterior.mean()
    model = LensModel(tuple(posterior.attrs["mass"]), {"q": (min(0.6, 0.9 * mean["q"]), 1.0)})
    p = {name: jnp.asarray(value) for name, value in mean.items()}
    half = max(posterior.image("image").shape) * posterior.attrs["pixel_scale"] / 2
    centre = np.array([mean["xs"], mean["ys"]])
    return critical_lines(model, p, half), [line - centre for line in caustics(model, p, half)]


def corner_figure(posterior: Posterior, truths: dict[str, float] | None = None) -> Figure:
    """All parameters against one another, quantiles 16, 50 and 84 %; fixed ones are left out and named above.

    truths: true values to mark, by name; an orientation's is moved by whole periods next to the draws.
    """
    draws = {str(k): unwrapped(str(k), v.values).ravel() for k, v in posterior.lens.items()}
    fixed = {name: d[0] for name, d in draws.items() if not np.ptp(d) > 1e-9 * max(1.0, abs(d[0]))}
    free = {name: d for name, d in draws.items() if name not in fixed}
    figure = Figure(figsize=(1.6 * max(len(free), 3), 1.6 * max(len(free), 3)))
    if free:
        near = None
        if truths is not None:
            near = [_near(name, truths.get(name), d) for name, d in free.items()]
        corner.corner(
            np.stack(list(free.values()), -1),
            labels=[symbol(name) for name in free],
            truths=near,
            fig=figure,
            range=[_range(d, t) for d, t in zip(free.values(), near or [None] * len(free), strict=True)],
            quantiles=[0.16, 0.5, 0.84],
            plot_contours=next(iter(free.values())).size > 200,
            plot_density=next(iter(free.values())).size > 200,
            data_kwargs={"alpha": 0.4, "ms": 2.5},
            max_n_ticks=3,
            label_kwargs={"fontsize": 11},
            labelpad=0.12,
        )
        for axes, (name, d) in zip(figure.axes[:: len(free) + 1], free.items(), strict=True):
            axes.set_title(value_with_error(d.mean(), d.std()), fontsize=9)
            axes.set_ylabel("")
    words = posterior.attrs["name"]
    if fixed:
        words += "   fixed: " + ", ".join(f"{symbol(name)} = {value:.5g}" for name, value in fixed.items())
    figure.suptitle(words, fontsize=13)
    return figure


def _near(name: str, truth: float | None, draws: np.ndarray) -> float | None:
    """The truth as `unwrapped` would place it among the draws."""
    if truth is None:
        return None
    return float(unwrapped(name, np.append(draws, truth))[-1])


def _range(draws: np.ndarray, truth: float | None) -> tuple[float, float]:
    """All draws and the truth, with a margin."""
    values = draws if truth is None else np.append(draws, truth)
    margin = 0.05 * np.ptp(values)
    return values.min() - margin, values.max() + margin


def _stretch(values: np.ndarray) -> AsinhNorm:
    """arcsinh from the darkest to nearly the brightest pixel, linear below a tenth of it."""
    top = float(np.quantile(values, 0.9995))
    top = top if top > values.min() else float(values.min()) + 1.0
    return AsinhNorm(0.1 * abs(top) or 1.0, float(values.min()), top)


def _colour_bar(axes: Axes, shown: ScalarMappable, norm: Normalize) -> None:
    figure = axes.get_figure()
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)  # type: ignore[union-attr]
    if isinstance(norm, AsinhNorm):
        low, high = norm.vmin or 0.0, norm.vmax or 1.0
        candidates = [s * m * 10.0**k for s in (-1, 1) for m in (1, 3) for k in range(-6, 7)]
        place = norm(np.array([0.0, *sorted(c for c in candidates if low < c < high)]))
        kept = [0.0] if low <= 0 <= high else []
        for c in sorted((c for c in candidates if low < c < high), reverse=True):
            if all(abs(float(norm(c)) - float(norm(k))) > 0.09 for k in kept):
                kept.append(c)
        bar.set_ticks(sorted(kept), labels=[f"{k:g}" for k in sorted(kept)]) if place.size else None
    bar.ax.tick_params(labelsize=8)


def _table(axes: Axes, summary: dict, warnings: list[str], width: int) -> None:
    """Parameters with mean ± sd and r_hat, the verdict below."""
    axes.axis("off")
    rows = [
        [symbol(name), value_with_error(row["mean"], row["sd"]), "–" if row["r_hat"] is None else f"{row['r_hat']:.2f}"]
        for name, row in summary["parameters"].items()
    ]
    height = min(0.72, 0.05 * (len(rows) + 1))
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
    axes.text(0, 0.97 - height, verdict(summary, warnings, width), transform=axes.transAxes, va="top", fontsize=8.5)
