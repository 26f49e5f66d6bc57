"""Pictures of a posterior: what was seen, what explains it, what is left, and what is not known."""

import corner
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure

from ..check.residuals import normalised_residual
from ..errors import BlindlensError
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
    words: list[str] = summary["warnings"] if warnings is None else warnings
    light = "lens_light" in posterior.tree["model"]
    columns = 4 if light else 3
    text = verdict(summary, words, 46 * columns)
    strip = 0.16 * (text.count("\n") + 1) + 0.15  # inches: all of it is read, however much there is to say
    figure = Figure(figsize=(4.4 * columns, 8.2 + strip), layout="constrained")
    grid = figure.add_gridspec(3, columns, height_ratios=(4.1, 4.1, strip))
    critical, caustic = lens_lines(posterior)

    used = posterior.image("mask") != 0
    image, model = (np.where(used, posterior.image(k), np.nan) for k in ("image", "model"))
    sigma = float(np.median(posterior.image("noise")[used]))
    stretch = AsinhNorm(2 * sigma, -2 * sigma, max(float(np.nanquantile(image, 0.9995)), 5 * sigma))
    panels: list[tuple[str, np.ndarray, Normalize, str]] = [
        ("data, critical lines", image, stretch, LIGHT),
        ("mean model", model, stretch, LIGHT),
    ]
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

    source = sources_in_one_frame(posterior)
    side = posterior.attrs["source_fov"] / 2
    mean, spread = source.mean(0), source.std(0)
    for column, (title, values, norm, colours) in enumerate(
        [
            ("source, mean; caustics", mean, light_stretch(mean), LIGHT),
            ("source, standard deviation", spread, Normalize(0, float(spread.max()) or 1.0), SPREAD),
        ]
    ):
        axes = figure.add_subplot(grid[1, column])
        picture(axes, values, (-side, side, -side, side), norm, colours, title)
        if column == 0:
            overlay(axes, caustic, "white")
    _table(figure.add_subplot(grid[1, 2:]), summary)
    below = figure.add_subplot(grid[2, :])
    below.axis("off")
    below.text(0, 1, text, va="top", fontsize=9, in_layout=False)
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
    """Critical lines, and caustics relative to the source position, of the posterior mean lens; arcsec.

    None of a lens that its configuration does not describe (an object given in Python).
    """
    mean, attrs = posterior.mean(), posterior.attrs
    own = attrs.get("config", {}).get("lens", {})
    ranges = dict(own.get("ranges", {})) | ({"q": (min(0.6, 0.9 * mean["q"]), 1.0)} if "q" in mean else {})
    try:
        mass = attrs.get("mass", mass_components(set(mean)))
        model = LensModel(mass, ranges, own.get("z_lens"), own.get("z_source"))
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


def mass_components(names: set[str]) -> tuple[str, ...]:
    """The components of a LensModel with parameters of these names."""
    orders = sorted(int(name[2:]) for name in names if name.startswith("a_") and name[2:].isdigit())
    shear = ("shear",) if "gamma_1" in names else ()
    return ("epl" if "t" in names else "sie", *shear, *(f"multipole{m}" for m in orders))


def corner_figure(posterior: Posterior, truths: dict[str, float] | None = None, group: str = "posterior") -> Figure:
    """All parameters against one another, a colour per chain; fixed ones are left out and named above.

    truths: true values to mark, by name; an orientation's is moved by whole periods next to the draws. group:
    "marginal" shows the lenses drawn for given sources instead, a colour per source.
    """
    lens = posterior.lens if group == "posterior" else posterior.tree[group].to_dataset()
    draws = {str(k): unwrapped(str(k), v.values) for k, v in lens.items()}
    fixed = {name: d.flat[0] for name, d in draws.items() if np.ptp(d) == 0}
    free = {name: d for name, d in draws.items() if name not in fixed}
    size = 1.6 * max(len(free), 2) + 1.2
    figure = Figure(figsize=(size, size))
    figure.suptitle(posterior.attrs["name"], fontsize=14)
    if fixed:
        words = ["fixed", *(f"{symbol(name)} = {value:.5g}" for name, value in fixed.items())]
        figure.text(0.98, 0.94, "\n".join(words), ha="right", va="top", fontsize=11)
    if not free:
        return figure
    marked = [_near(name, (truths or {}).get(name), d) for name, d in free.items()]
    ranges = [_range(d, t) for d, t in zip(free.values(), marked, strict=True)]
    for k, chain in enumerate(np.stack(list(free.values()), -1)):
        # corner refuses fewer draws than parameters; drawn over one another several times they look the same
        chain = np.tile(chain, (len(free) // len(chain) + 1, 1))
        corner.corner(
            chain,
            fig=figure,
            labels=[symbol(name) for name in free],
            range=ranges,
            truths=marked,
            truth_color="black",
            color=f"C{k % 10}",
            plot_contours=len(chain) >= 1000,
            plot_density=False,
            no_fill_contours=True,
            data_kwargs={"alpha": 0.5, "ms": 3},
            hist_kwargs={"density": True},
            max_n_ticks=3,
            label_kwargs={"fontsize": 12},
        )
    edge, top = 0.9 / size, 1 - 0.5 / size
    figure.subplots_adjust(left=edge, bottom=edge, right=1 - 0.15 / size, top=top, wspace=0.06, hspace=0.06)
    grid = np.array(figure.axes).reshape(len(free), len(free))
    for i, d in enumerate(free.values()):
        grid[i, i].autoscale(axis="y")  # of all chains, not of the last one
        grid[i, i].set_title(value_with_error(d.mean(), d.std()), fontsize=8)
        grid[-1, i].xaxis.set_label_coords(0.5, -0.42)
        grid[i, 0].yaxis.set_label_coords(-0.42, 0.5)
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


def light_stretch(values: np.ndarray) -> AsinhNorm:
    """arcsinh from the darkest to nearly the brightest pixel, linear below a tenth of it."""
    top = float(np.quantile(values, 0.9995))
    top = top if top > values.min() else float(values.min()) + 1.0
    return AsinhNorm(0.1 * abs(top) or 1.0, float(values.min()), top)


def _colour_bar(axes: Axes, shown: ScalarMappable, norm: Normalize) -> None:
    """As high as the picture; on an arcsinh stretch, ticks at 0, 1, 3, 10, 30 ... that stand apart."""
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.02, 0, 0.04, 1)))
    if isinstance(norm, AsinhNorm):
        low, high = norm.vmin or 0.0, norm.vmax or 1.0
        steps = [m * 10.0**k for k in range(6, -7, -1) for m in (3, 1)]
        kept: list[float] = []
        for value in (0.0, *steps, *(-step for step in steps)):
            if low <= value <= high and all(abs(float(norm(value)) - float(norm(other))) > 0.09 for other in kept):
                kept.append(value)
        bar.set_ticks(sorted(kept), labels=[f"{value:g}" for value in sorted(kept)])
    bar.ax.tick_params(labelsize=8)


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
