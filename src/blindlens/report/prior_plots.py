"""Pictures of a prior's check: its draws beside real images, their spectra and brightness, its denoising error."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure

from ..check.stacks import image_stack

LIGHT = "inferno"
SAMPLES, REAL = "C1", "0.25"


def contact_sheet(
    samples: np.ndarray, real: np.ndarray, scale: float = 1.0, offset: float = 0.0, rows: int = 6, columns: int = 6
) -> Figure:
    """The first rows x columns draws, and beside them as many real images, in surface brightness scale x + offset.

    samples, real: (k, n, n) in model units. One asinh stretch for all, from the real images. Raises BlindlensError for
    stacks of other or different shapes.
    """
    samples = image_stack(samples, "samples")
    real = image_stack(real, "real", samples.shape[1])
    sets = [scale * np.asarray(v[: rows * columns], np.float64) + offset for v in (real, samples)]
    low, top = np.quantile(sets[0], (0.001, 0.9995))
    knee = float(np.quantile(np.abs(sets[0]), 0.75)) or 1.0
    low, top = min(float(low), -knee), max(float(top), 2 * knee)  # what lies below zero is seen, too
    norm = AsinhNorm(knee, low, top)
    figure = Figure(figsize=(1.05 * 2 * columns + 1.2, 1.05 * rows + 0.7), layout="constrained")
    halves = figure.subplots(1, 2)
    for axes, title, images in zip(halves, ("real images", "draws from the prior"), sets, strict=True):
        shown = axes.imshow(
            _mosaic(images, rows, columns), origin="lower", norm=norm, cmap=LIGHT, interpolation="nearest"
        )
        axes.set(title=title, xticks=[], yticks=[])
    bar = figure.colorbar(shown, ax=list(halves), fraction=0.02, pad=0.01, label="surface brightness")
    ticks = [0.0]
    for value in (m * 10.0**k for k in range(-4, 5) for m in (1, 3)):
        if value <= top and float(norm(value)) - float(norm(ticks[-1])) > 0.06:
            ticks.append(value)
    bar.set_ticks(ticks, labels=[f"{value:g}" for value in ticks])
    return figure


def _mosaic(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """First image top left, one pixel of NaN between; for origin="lower"."""
    n = images.shape[1]
    sheet = np.full((rows * (n + 1) - 1, columns * (n + 1) - 1), np.nan)
    for k, image in enumerate(images):
        row, column = rows - 1 - k // columns, k % columns
        sheet[row * (n + 1) : row * (n + 1) + n, column * (n + 1) : column * (n + 1) + n] = image
    return sheet


def appearance_figure(result: dict[str, Any]) -> Figure:
    """Power spectra and brightness of `check_prior`'s result: both sets above, their ratio with errors below."""
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", height_ratios=(2, 1))
    power, light = result["power"], result["brightness"]
    k = np.asarray(power["wavenumber"])
    axes[0, 0].loglog(k, power["held_out"], color=REAL, label="held-out images")
    axes[0, 0].loglog(k, power["samples"], color=SAMPLES, label=f"draws from {result['prior']}")
    axes[0, 0].set(title="power, median over images", ylabel="power [model units²]")
    axes[0, 0].legend(fontsize=8, frameon=False)
    _ratio(axes[1, 0], k, np.asarray(power["ratio"], float), np.asarray(power["ratio_se"], float))
    axes[1, 0].set(xlabel="wavenumber [cycles per field]", ylabel="draws / held-out")

    edges = np.asarray(light["edges"])
    knee = max(float(np.median(np.abs(edges))) / 10, 1e-12)
    at = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])  # open bins at their one edge
    shares = {name: np.asarray(light[name]) for name in ("held_out", "samples")}
    for (name, share), colour in zip(shares.items(), (REAL, SAMPLES), strict=True):
        error = np.asarray(light[f"{name}_se"])
        axes[0, 1].errorbar(at, np.where(share > 0, share, np.nan), error, color=colour, fmt=".-", ms=4, lw=1)
    axes[0, 1].set(title="brightness of pixels", ylabel="share of pixels", yscale="log")
    axes[0, 1].set_xscale("symlog", linthresh=knee)
    p, q = shares["samples"], shares["held_out"]
    full = (p > 0) & (q > 0)
    relative = np.hypot(*(np.asarray(light[f"{name}_se"])[full] / shares[name][full] for name in shares))
    _ratio(axes[1, 1], at[full], p[full] / q[full], p[full] / q[full] * relative)
    axes[1, 1].set(xlabel="x [model units]")
    axes[0, 1].text(
        0.03, 0.05, f"histograms differ by {100 * light['distance']:.1f} %", transform=axes[0, 1].transAxes, fontsize=8
    )
    return figure


def _ratio(axes: Axes, x: np.ndarray, ratio: np.ndarray, error: np.ndarray) -> None:
    axes.axhline(1, color=REAL, lw=0.8)
    axes.errorbar(x, ratio, error, color=SAMPLES, fmt=".", ms=4, lw=1)
    _log_ratio(axes)


def _log_ratio(axes: Axes) -> None:
    """A logarithmic axis for numbers about 1, with decimals at its ticks."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}" if high < 8 * low else "")


def denoising_figure(table: dict[str, list[dict[str, float]]]) -> Figure:
    """`denoising_table`: error (points) and claim (lines) over sigma^2 per noise level; below, error over claim."""
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for place, (name, rows) in enumerate(table.items()):
        column = {key: np.array([row[key] for row in rows], float) for key in rows[0]}
        s2, colour = column["sigma"] ** 2, f"C{place}"
        above.errorbar(
            column["sigma"], column["error"] / s2, column["error_se"] / s2, color=colour, fmt="o", ms=4, label=name
        )
        above.plot(column["sigma"], column["claim"] / s2, color=colour, lw=1)
        below.errorbar(column["sigma"], column["ratio"], column["ratio_se"], color=colour, fmt="o-", ms=4, lw=1)
    above.axhline(1, color=REAL, lw=0.8, ls=":")
    above.set(xscale="log", yscale="log", ylabel="|x − D|² / σ² per pixel", title="points: error, lines: what D claims")
    above.legend(fontsize=8, frameon=False)
    below.axhline(1, color=REAL, lw=0.8)
    below.set(xlabel="σ [model units]", ylabel="error / claim")
    _log_ratio(below)
    return figure


def losses_figure(lines: list[str]) -> Figure:
    """The lines of a training run's losses.csv: validation loss against the step, a panel per noise band."""
    bands = lines[0].split(",")[2:]
    rows = [line.split(",") for line in lines[1:]]
    figure = Figure(figsize=(3.2 * len(bands), 3.0), layout="constrained")
    for k, (axes, band) in enumerate(zip(np.atleast_1d(figure.subplots(1, len(bands))), bands, strict=True)):
        for weights in dict.fromkeys(row[1] for row in rows):
            mine = [(int(row[0]), float(row[2 + k])) for row in rows if row[1] == weights]
            axes.plot(*zip(*mine, strict=True), marker=".", label=weights)
        axes.set(title=f"sigma {band}", xlabel="step", yscale="log")
        # step 0 has a place too
        axes.set_xscale("symlog", linthresh=min((int(row[0]) for row in rows if row[0] != "0"), default=1))
    figure.axes[0].set_ylabel("error / that of a linear denoiser")
    figure.axes[0].legend()
    return figure
