"""Pictures of a study of coverage."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..check.coverage import judge

COLUMNS = 6


def coverage_figure(uniform: dict[str, np.ndarray]) -> Figure:
    """Of each set of numbers that are uniform for right posteriors: expected coverage less the level, with its band.

    A right posterior's line keeps to zero, which the band then holds. Above zero, TARP's says that draws are too wide,
    a coordinate's that they are too high.
    """
    rows = -(-len(uniform) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, u) in zip(panels, uniform.items(), strict=False):
        curve(axes, name, u)
    for axes in panels[len(uniform) :]:
        axes.axis("off")
    figure.supxlabel("level")
    figure.supylabel("share of truths below it, less the level")
    figure.suptitle(f"coverage over {len(next(iter(uniform.values())))} systems; bands hold 95 % at all levels at once")
    return figure


def curve(axes: Axes, name: str, u: np.ndarray) -> None:
    """One panel."""
    judged = judge(u)
    off = judged.curve - judged.levels
    colour = "C0" if judged.inside else "C3"
    axes.axhline(0, color="black", lw=0.8)
    axes.fill_between(judged.levels, off - judged.band, off + judged.band, color=colour, alpha=0.25, lw=0)
    axes.plot(judged.levels, off, color=colour)
    axes.set_title(f"{name}, p {judged.p:.2g}", fontsize=9)
    axes.set_ylim(-0.45, 0.45)
