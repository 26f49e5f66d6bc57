"""The figures of arXiv:2511.04792, of systems whose truth is known."""

from typing import NamedTuple

import corner
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..posterior import Posterior, unwrapped
from .corner_plot import corner_figure
from .pictures import LIGHT, SIGNED, light_stretch, picture
from .words import symbol


class Seen(NamedTuple):
    """A system, and draws of its posterior. truth: lens parameters; source: (n, n); noise: (ny, nx), what was added,
    and residuals (draws, ny, nx) of the draws, both over the noise's standard deviation.
    """

    truth: dict[str, float]
    source: np.ndarray
    noise: np.ndarray
    posterior: Posterior
    residuals: np.ndarray


def system_figure(seen: Seen, shown: int = 3) -> Figure:
    """Observation, true source and draws above; below, what was added as noise and what each draw leaves."""
    posterior, draws = seen.posterior, seen.posterior.source.values.reshape(-1, *seen.source.shape)[:shown]
    image, side = posterior.image("image"), posterior.attrs["source_fov"] / 2
    half = np.array(image.shape) * posterior.attrs["pixel_scale"] / 2
    field, sky = (-side, side, -side, side), (-half[1], half[1], -half[0], half[0])
    figure = Figure(figsize=(4.0 * (len(draws) + 2), 8.0), layout="constrained")
    axes = figure.subplots(2, len(draws) + 2)
    norm = light_stretch(seen.source)
    picture(axes[0, 0], image, sky, light_stretch(image), LIGHT, "observation")
    picture(axes[0, 1], seen.source, field, norm, LIGHT, "true source")
    axes[1, 0].axis("off")
    picture(axes[1, 1], seen.noise, sky, Normalize(-4, 4), SIGNED, f"noise, chi2/pixel {np.mean(seen.noise**2):.3f}")
    for k, (x, left) in enumerate(zip(draws, seen.residuals, strict=False)):
        picture(axes[0, k + 2], x, field, norm, LIGHT, f"draw {k + 1}")
        title = f"residual, chi2/pixel {np.mean(left**2):.3f}"
        picture(axes[1, k + 2], left, sky, Normalize(-4, 4), SIGNED, title)
    figure.suptitle(posterior.attrs["name"])
    return figure


def marginal_corner(seen: Seen) -> Figure:
    """All 12 parameters of p(l | y), a colour for each source given which the lenses were drawn; the truth in black."""
    return corner_figure(seen.posterior, seen.truth, "marginal")


def marginal_figure(seen: Seen, names: tuple[str, str] = ("Rein", "q")) -> Figure:
    """Two parameters: p(l | y) as a mixture over sources, against the conditionals p(l | y, x_i) it is made of."""
    lenses = seen.posterior.tree["marginal"].to_dataset()
    values = np.stack([unwrapped(name, lenses[name].values) for name in names], -1)
    low, high = values.min((0, 1)), values.max((0, 1))
    margin = 0.08 * (high - low)
    shown = {"labels": [symbol(name) for name in names], "range": list(zip(low - margin, high + margin, strict=True))}
    shown |= {"plot_density": False, "no_fill_contours": True}
    figure = Figure(figsize=(6.5, 6.5))
    for k, source in enumerate(values):
        # a dictionary each, as corner writes into it
        looks = {"data_kwargs": {"alpha": 0.5, "ms": 3}, "hist_kwargs": {"density": True}, "plot_contours": False}
        corner.corner(source, fig=figure, color=f"C{k % 10}", **looks, **shown)
    looks = {"hist_kwargs": {"density": True, "lw": 2}, "plot_datapoints": False, "smooth": 1.0}
    truths = [seen.truth[name] for name in names]
    mixture = values.reshape(-1, 2)
    corner.corner(mixture, fig=figure, color="black", truths=truths, truth_color="0.5", **looks, **shown)
    for axes in (figure.axes[0], figure.axes[3]):
        axes.autoscale(axis="y")
    figure.suptitle(f"{seen.posterior.attrs['name']}: mixture (black) and {len(values)} conditionals", fontsize=11)
    return figure


def tweedie_figure(means: dict[str, np.ndarray], source: np.ndarray, side: float, t: float) -> Figure:
    """Tweedie means (n, n) at time t by guidance, in surface brightness, beside the true source. side: arcsec."""
    figure = Figure(figsize=(4.2 * (len(means) + 1), 4.2), layout="constrained")
    axes, field = figure.subplots(1, len(means) + 1), (-side / 2, side / 2, -side / 2, side / 2)
    norm = light_stretch(source)
    picture(axes[0], source, field, norm, LIGHT, "true source")
    for ax, (name, mean) in zip(axes[1:], means.items(), strict=True):
        picture(ax, mean, field, norm, LIGHT, f"{name}: E[x | x_t], t = {t:g}")
    return figure


def evolution_figure(
    t: np.ndarray, x_t: np.ndarray, mean: np.ndarray, lens: dict[str, np.ndarray], truth: dict[str, float], side: float
) -> Figure:
    """Noisy source x_t and its Tweedie mean (k, n, n) at times t, in surface brightness, and the lens's path (k,)."""
    picked = np.linspace(0, len(t) - 1, 6).round().astype(int)
    rows = -(-len(lens) // 6)
    figure = Figure(figsize=(19.0, 7.0 + 2.0 * rows), layout="constrained")
    grid = figure.add_gridspec(2 + rows, 6, height_ratios=(3, 3, *[1.5] * rows))
    field, norm = (-side / 2, side / 2, -side / 2, side / 2), light_stretch(mean[-1])
    for column, k in enumerate(picked):
        limit = float(np.abs(x_t[k]).max())
        above, below = (figure.add_subplot(grid[row, column]) for row in (0, 1))
        picture(above, x_t[k], field, Normalize(-limit, limit), SIGNED, f"x_t, t = {t[k]:.2f}")
        picture(below, mean[k], field, norm, LIGHT, f"E[x | x_t], t = {t[k]:.2f}")
    for i, (name, path) in enumerate(lens.items()):
        axes = figure.add_subplot(grid[2 + i // 6, i % 6])
        *near, true = unwrapped(name, np.append(path, truth[name]))
        axes.plot(t, near, color="C0")
        axes.axhline(true, color="black", lw=0.8)
        axes.set(xlim=(1, 0), xlabel="t", title=symbol(name))
    return figure
