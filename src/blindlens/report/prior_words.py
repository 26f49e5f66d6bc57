"""The result of `check_prior` as Markdown tables: what a person reads in a terminal or pastes into a page."""

from collections.abc import Iterable, Sequence
from typing import Any


def prior_words(result: dict[str, Any]) -> str:
    """PQMass, structure, power, memorisation and denoising, a table or a sentence each; numbers with their errors."""
    sizes, near, light = result["images"], result["memorisation"], result["brightness"]
    parts = [
        f"{result['prior']}: {sizes['samples']} draws, {sizes['held_out']} held-out images, "
        f"{sizes['training']} training images of {sizes['n']} x {sizes['n']} pixels",
        _table(
            ("PQMass", "chi2 ± sd", "same distribution", "p", "p, too alike"),
            (
                (
                    {"real": "held-out and training"}.get(name, f"draws and {name.replace('_', '-')}")
                    + f", {m['x']} and {m['y']}",
                    f"{m['chi2']:.1f} ± {m['sd']:.1f}",
                    _pm(m["null_mean"], m["null_sd"], 1),
                    f"{m['p']:.3f}",
                    f"{m['p_alike']:.3f}",
                )
                for name, m in result["pqmass"].items()
            ),
        ),
        _table(
            ("structure", "draws, 10/50/90 %", "held-out, 10/50/90 %", "ratio of medians"),
            (
                (
                    name,
                    *(_quantiles(row[which]) for which in ("samples", "held_out")),
                    _pm(row["ratio"], row["ratio_se"]),
                )
                for name, row in result["structure"].items()
                if name != "unusable"
            ),
        ),
        _table(
            ("wavenumber", "power, draws / held-out"),
            (
                (str(k), _pm(ratio, se))
                for k, ratio, se in zip(*(result["power"][v] for v in ("wavenumber", "ratio", "ratio_se")), strict=True)
                if k & (k - 1) == 0  # octaves
            ),
        ),
        f"Brightness histograms differ by {100 * light['distance']:.1f} %. Images whose structure is not defined: "
        f"{result['structure']['unusable']['samples']} draws, {result['structure']['unusable']['held_out']} held-out.",
        f"Closer to a training image than the closest {100 * near['expected']:g} % of held-out ones: "
        f"{100 * near['close']:.1f} % of draws, {100 * near['close_ratio']:.1f} % relative to the second closest "
        f"(± {100 * near['se']:.1f} %).",
        denoising_words(result["denoising"]),
    ]
    return "\n\n".join(parts)


def denoising_words(table: dict[str, list[dict[str, float]]]) -> str:
    """`denoising_table` with a row per sigma and, per denoiser, error / sigma^2 and error / claim."""
    heads = [f"{name}: {what}" for name in table for what in ("error / sigma^2", "error / claim")]
    rows = []
    for level in zip(*table.values(), strict=True):
        cells = [f"{level[0]['sigma']:g}"]
        for row in level:
            s2 = row["sigma"] ** 2
            cells += [f"{row['error'] / s2:.3g} ± {row['error_se'] / s2:.1g}", _pm(row["ratio"], row["ratio_se"], 3)]
        rows.append(cells)
    return _table(("sigma", *heads), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _pm(value: float | None, error: float | None, digits: int = 2) -> str:
    return "–" if value is None or error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def _quantiles(values: list[float] | None) -> str:
    return "–" if values is None else " / ".join(f"{v:.3g}" for v in values)
