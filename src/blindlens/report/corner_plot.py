"""All parameters of a posterior against one another."""

import corner
import numpy as np
from matplotlib.figure import Figure

from ..posterior import Posterior, unwrapped
from .words import symbol, value_with_error


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
