"""One image in arcsec: stretch, colour bar, lines, scale."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, Normalize

LIGHT, SPREAD, SIGNED, GREY = "inferno", "viridis", "RdBu_r", "0.6"


class Panel(NamedTuple):
    """One image with all that its picture needs; values (ny, nx), NaN where masked; half: of its height and width."""

    title: str
    values: np.ndarray
    half: tuple[float, float]
    norm: Normalize
    colours: str
    lines: Sequence[np.ndarray] = ()
    colour_bar: bool = True

    def draw(self, axes: Axes, bar: bool = False) -> None:
        """The picture, in arcsec, and the lines upon it; bar: a line of a round length for a scale."""
        y, x = self.half
        picture(axes, self.values, (-x, x, -y, y), self.norm, self.colours, self.title, self.colour_bar)
        overlay(axes, self.lines, "white")
        if bar:
            _scale_bar(axes, x)


def picture(
    axes: Axes, values: np.ndarray, extent: tuple, norm: Normalize, colours: str, title: str, colour_bar: bool = True
) -> None:
    """One image in arcsec, row 0 at the bottom, NaN in grey, with its colour bar."""
    axes.set_facecolor(GREY)
    shown = axes.imshow(values, origin="lower", extent=extent, norm=norm, cmap=colours, interpolation="nearest")
    axes.set(title=title, xlabel="x [arcsec]", ylabel="y [arcsec]")
    if colour_bar:
        _colour_bar(axes, shown, norm)


def overlay(axes: Axes, lines: Sequence[np.ndarray], colour: str) -> None:
    """Curves (k, 2) on top of a picture, whose limits stay."""
    axes.autoscale(False)
    for line in lines:
        axes.plot(*line.T, color=colour, lw=0.9)


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


def _scale_bar(axes: Axes, half: float) -> None:
    """1, 2 or 5 times a power of ten arcsec, about a quarter of the picture's side 2 half."""
    power = 10.0 ** np.floor(np.log10(half / 2))
    length = power * max(step for step in (1, 2, 5) if step * power <= half / 2)
    left, low = -0.92 * half, -0.9 * half
    axes.plot([left, left + length], [low, low], color="white", lw=2, solid_capstyle="butt")
    axes.text(left + length / 2, low + 0.04 * half, f"{length:g}″", color="white", ha="center", va="bottom", fontsize=9)
