"""Pictures of how the sampling went, and of what is left of the image."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..check.convergence import R_HAT_LIMIT
from ..check.residuals import normalised_residual
from ..posterior import PIXEL_FRAME, Posterior, unwrapped
from .words import symbol

TRACED = ("Rein", "q", "phi", "t", "gamma_1", "gamma_2", "xs", "ys")


def convergence_figure(summary: dict[str, Any]) -> Figure:
    """r_hat and effective sample size of free parameters and of the source's numbers, with the limit and the number of
    draws; the frame of the source's pixels in grey.
    """
    named = summary["parameters"] | {f"source_{name}": row for name, row in summary["source"].items()}
    rows = {name: row for name, row in named.items() if row["sd"] > 0}
    figure = Figure(figsize=(5.4, 0.23 * len(rows) + 1.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    at, names = np.arange(len(rows)), [symbol(name).partition(" [")[0] for name in rows]
    r_hat = np.array([np.nan if row["r_hat"] is None else row["r_hat"] for row in rows.values()])
    ess = np.array([np.nan if row["ess"] is None else row["ess"] for row in rows.values()])
    colours = [
        "0.6" if name in PIXEL_FRAME else "C2" if value < R_HAT_LIMIT else "C3"
        for name, value in zip(rows, r_hat, strict=True)
    ]
    left.hlines(at, 1, r_hat, color=colours, lw=2)
    left.scatter(r_hat, at, c=colours, s=22, zorder=3)
    left.axvline(R_HAT_LIMIT, color="0.4", ls="--", lw=1)
    left.set(xlabel=rf"$\hat R$ (agreed below {R_HAT_LIMIT})", yticks=at, yticklabels=names, xlim=(0.98, None))
    left.invert_yaxis()
    right.barh(at, ess, color="0.6", height=0.6)
    right.axvline(summary["chains"] * summary["draws"], color="0.4", ls="--", lw=1)
    right.set(xlabel="effective draws (dashed: all)")
    return figure


def trace_figure(posterior: Posterior) -> Figure:
    """Draw after draw of the main parameters that are not fixed, a colour a chain as in the corner plot."""
    draws = {name: unwrapped(name, posterior.lens[name].values) for name in TRACED if name in posterior.lens}
    free = {name: d for name, d in draws.items() if np.ptp(d)}
    rows = max((len(free) + 1) // 2, 1)
    figure = Figure(figsize=(5.4, 1.0 * rows + 0.4), layout="constrained")
    for k, (name, d) in enumerate(free.items()):
        axes = figure.add_subplot(rows, 2, k + 1)
        for c, chain in enumerate(d):
            axes.plot(np.arange(1, len(chain) + 1), chain, color=f"C{c % 10}", lw=0.9, marker=".", ms=2.5)
        axes.set_ylabel(symbol(name))
        axes.tick_params(labelsize=8)
        if k >= len(free) - 2:
            axes.set_xlabel("draw")
    return figure


def chi2_figure(posterior: Posterior) -> Figure:
    """chi2 per pixel of every draw, and of the mean model."""
    stats = posterior.tree["sample_stats"].to_dataset()
    figure = Figure(figsize=(5.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    if "chi2_per_pixel" in stats:
        for c, chain in enumerate(stats["chi2_per_pixel"].values):
            axes.plot(np.arange(1, len(chain) + 1), chain, color=f"C{c % 10}", lw=0.9, marker=".", ms=3)
    axes.axhline(posterior.chi2_of_mean(), color="0.4", ls="--", lw=1)
    axes.set(xlabel="draw", ylabel=r"$\chi^2$ per pixel", title="dashed: mean model")
    axes.title.set_fontsize(9)
    return figure


def residual_figure(posterior: Posterior) -> Figure:
    """Histogram of the mean model's normalised residuals against N(0, 1), logarithmic; the ends hold all beyond."""
    values = normalised_residual(posterior)
    values = values[np.isfinite(values)]
    edges = np.linspace(-6, 6, 49)
    middle = (edges[1:] + edges[:-1]) / 2
    figure = Figure(figsize=(5.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(np.clip(values, edges[0], edges[-1]), edges, color="0.75", label="pixels")
    expected = len(values) * np.diff(edges) * np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi)
    axes.plot(middle, expected, color="C0", label="N(0, 1)")
    axes.set(yscale="log", ylim=(0.5, None), xlabel="(data − model) / noise", ylabel="pixels a bin")
    axes.set_title(f"mean {values.mean():.2f}, sd {values.std():.2f}", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    return figure
