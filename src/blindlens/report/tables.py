"""The numbers of a report: headlines in the field's terms, the parameters, derived quantities."""

import math
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup, escape

from ..check.bounds import SHARE, shares_at_ends
from ..check.convergence import R_HAT_LIMIT, r_hat
from ..check.residuals import expected_chi2
from ..check.verdict import agreement
from ..posterior import Posterior, unwrapped
from .words import decimals, html_symbol, meaning, value_with_error

DOUBT = "; chains disagree"
UNITS = {"source_flux": "data units", "source_r50": "arcsec", "source_x": "arcsec", "source_y": "arcsec"}


class Headline(NamedTuple):
    """One number that a reader looks for first; settled: nothing is wrong with it, its chains agree."""

    label: Markup
    value: str
    unit: str
    remark: Markup
    settled: bool = True


class Row(NamedTuple):
    """A parameter: printed numbers, and whether r_hat and the prior range give cause for doubt."""

    name: str
    symbol: Markup
    unit: str
    meaning: Markup
    mean: str
    sd: str
    quantiles: tuple[str, ...]
    prior: str
    r_hat: str
    ess: str
    unsettled: bool
    at_end: bool


def headlines(posterior: Posterior, summary: dict[str, Any]) -> list[Headline]:
    """Einstein radius, axis ratio, its direction, slope, shear as the field quotes them; chi2 and the worst r_hat."""
    draws = {str(name): values.values for name, values in posterior.lens.items()}
    angle = summary.get("derived", {}).get("values", {}).get("mass_position_angle")
    on_sky = f"; position angle {value_with_error(angle['mean'], angle['sd'])}°, north through east" if angle else ""
    found = []

    def add(label: str, d: np.ndarray, unit: str, remark: str) -> None:
        settled = not np.ptp(d) or bool(r_hat(d) < R_HAT_LIMIT)
        value = value_with_error(float(d.mean()), float(d.std()) if np.ptp(d) else 0.0)
        found.append(Headline(Markup(label), value, unit, Markup(remark + ("" if settled else DOUBT)), settled))

    if "Rein" in draws:
        add("Einstein radius θ<sub>E</sub>", draws["Rein"], "″", "intermediate axis")
    if "q" in draws:
        add("axis ratio q", draws["q"], "", "minor over major axis of the mass")
    if "phi" in draws:
        degrees = np.degrees(unwrapped("phi", draws["phi"]))
        add("major axis φ", degrees, "°", "counter-clockwise from +x, to the right in the image" + on_sky)
    if "t" in draws:
        add("slope γ", draws["t"] + 1, "", "density ∝ r<sup>−γ</sup>; 2 is isothermal")
    if "gamma_1" in draws:
        shear = draws["gamma_1"] + 1j * draws["gamma_2"]
        add("external shear", np.abs(shear), "", "√(γ₁² + γ₂²)")
        add("shear's direction", np.degrees(unwrapped("phi", np.angle(shear) / 2)), "°", "counter-clockwise from +x")
    chi2, of_mean = summary["chi2_per_pixel"], summary["chi2_per_pixel_of_mean_model"]
    pixels = f"{of_mean:.3f} of the mean model; {summary['pixels_used']:,} pixels"
    low, high = expected_chi2(summary["pixels_used"])
    found.append(Headline(Markup("χ² per pixel"), f"{chi2:.3f}", "", Markup(pixels), low <= of_mean <= high))
    known = {name: value for name, value in agreement(summary).items() if value is not None}
    if known:
        worst = max(known, key=known.__getitem__)
        remark = escape(f"of {worst}; the chains agree below {R_HAT_LIMIT}")
        found.append(Headline(Markup("greatest r_hat"), f"{known[worst]:.2f}", "", remark, known[worst] < R_HAT_LIMIT))
    return found


def parameter_rows(posterior: Posterior, summary: dict[str, Any]) -> list[Row]:
    """A row a parameter, in the posterior's order, and one for each of the source's numbers."""
    priors, ends = posterior.attrs.get("priors", {}), shares_at_ends(posterior)
    named = summary["parameters"] | {f"source_{name}": p for name, p in summary["source"].items()}
    rows = []
    for name, p in named.items():
        fixed, digits = not p["sd"] > 0, decimals(p["sd"])
        numbers = [p["mean"], p["q16"], p["q50"], p["q84"]]
        mean, *quantiles = (f"{v:.6g}" if digits is None else f"{v:.{digits}f}" for v in numbers)
        sd = "fixed" if fixed else f"{p['sd']:.2g}" if digits is None else f"{p['sd']:.{digits}f}"
        rows.append(
            Row(
                name,
                html_symbol(name),
                priors.get(name, {}).get("unit", "") or UNITS.get(name, ""),
                meaning(name),
                mean,
                sd,
                ("",) * 3 if fixed else tuple(quantiles),
                prior_range(priors.get(name)),
                "–" if p["r_hat"] is None else f"{p['r_hat']:.2f}",
                "–" if p["ess"] is None or fixed else f"{p['ess']:.0f}",
                not fixed and not (p["r_hat"] is not None and p["r_hat"] < R_HAT_LIMIT),
                max(ends.get(name, (0.0,))) > SHARE,
            )
        )
    return rows


def prior_range(prior: dict[str, Any] | None) -> str:
    """ "0.6 to 1", "0.01 to 9 (log)", "0 to 0.05 (disc)"; "–" where it is not known."""
    if prior is None:
        return "–"
    kind = {"log-uniform": " (log)", "disc": " (disc)"}.get(prior["kind"], "")
    return f"{prior['low']:.4g} to {prior['high']:.4g}{kind}"


def derived_rows(summary: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """(name, value, 16 to 84 %, unit, meaning) of each of the summary's derived quantities.

    They are summary["derived"]["values"], {name: {mean, sd, q16, q84, unit, meaning}}, of which all but mean may lack.
    """
    rows = []
    for name, found in summary.get("derived", {}).get("values", {}).items():
        mean, sd, ends = found.get("mean"), found.get("sd"), [found.get("q16"), found.get("q84")]
        known = mean is not None and math.isfinite(mean)
        value = "–" if not known else value_with_error(mean, sd) if sd else f"{mean:.4g}"
        digits = decimals(sd or 0.0)
        between = " to ".join(
            f"{end:.4g}" if digits is None else f"{end:.{digits}f}" for end in ends if end is not None
        )
        unit, words = (found.get(key) or "" for key in ("unit", "meaning"))
        rows.append((name.replace("_", " "), value, between, unit, words))
    return rows
