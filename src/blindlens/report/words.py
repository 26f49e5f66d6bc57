"""Names and numbers as an astronomer prints them."""

import math
import re
import textwrap
from typing import Any

from markupsafe import Markup, escape

SYMBOLS = {
    "x0": r"$x_0$ [″]",
    "y0": r"$y_0$ [″]",
    "q": r"$q$",
    "phi": r"$\varphi$",
    "Rein": r"$R_{\rm ein}$ [″]",
    "t": r"$t$",
    "gamma_1": r"$\gamma_1$",
    "gamma_2": r"$\gamma_2$",
    "x_sub": r"$x_{\rm sub}$ [″]",
    "y_sub": r"$y_{\rm sub}$ [″]",
    "theta_sub": r"$\theta_{\rm sub}$ [″]",
    "log_m200": r"$\log_{10} M_{200}/M_\odot$",
    "xs": r"$x_{\rm s}$ [″]",
    "ys": r"$y_{\rm s}$ [″]",
    "flux_scale": "flux scale",
    "source_fov": "source field [″]",
    "source_flux": "source's flux",
    "source_r50": r"$r_{50}$ [″]",
    "source_x": r"$x_{\rm src}$ [″]",
    "source_y": r"$y_{\rm src}$ [″]",
    "x_light": r"$x_{\rm light}$ [″]",
    "y_light": r"$y_{\rm light}$ [″]",
    "q_light": r"$q_{\rm light}$",
    "phi_light": r"$\varphi_{\rm light}$",
    "q_light2": r"$q_{\rm light2}$",
    "phi_light2": r"$\varphi_{\rm light2}$",
    "n_light": r"$n_{\rm light}$",
    "R_light": r"$R_{\rm light}$ [″]",
    "noise_scale": "noise scale",
}

MEANINGS = {
    "x0": "centre of the mass, right of the image's centre",
    "y0": "centre of the mass, above the image's centre",
    "q": "axis ratio of the mass, minor over major axis",
    "phi": "direction of the major axis, counter-clockwise from +x",
    "Rein": "Einstein radius on the intermediate axis, √(major × minor)",
    "t": "slope of the convergence, κ ∝ R<sup>−t</sup>; the density's is γ = t + 1",
    "gamma_1": "external shear, ψ = γ₁ (x² − y²)/2 about the image's centre",
    "gamma_2": "external shear, ψ = γ₂ x y",
    "xs": "centre of the source's field in the source plane, to the right",
    "ys": "centre of the source's field in the source plane, upwards",
    "flux_scale": "factor on the surface brightness that the prior knows",
    "source_fov": "side of the source's field",
    "source_flux": "of the source as it were without the lens, summed over image pixels",
    "source_r50": "half-light radius of the source round its centroid",
    "source_x": "centroid of the source in the source plane, to the right",
    "source_y": "centroid of the source in the source plane, upwards",
    "x_light": "centre of the lens light, right of the image's centre",
    "y_light": "centre of the lens light, above the image's centre",
    "q_light": "axis ratio of the lens light",
    "phi_light": "direction of the lens light's major axis, counter-clockwise from +x",
    "q_light2": "axis ratio of the lens light's second set of Gaussians",
    "phi_light2": "direction of the second set's major axis, counter-clockwise from +x",
    "n_light": "Sérsic index of the lens light",
    "R_light": "effective radius of the lens light, √(major × minor)",
    "noise_scale": "factor on the noise map",
}
"""What a parameter is, in the conventions of docs/conventions.md, as HTML."""


def meaning(name: str) -> Markup:
    """What a parameter is, for a web page; empty for one that has no words yet."""
    stem, _, m = name.partition("_")
    if m.isdigit() and stem == "a":
        words = f"multipole of order {m} about the mass's centre, ψ = r a/(1 − {m}²) cos {m}(θ − φ); a in arcsec"
    elif m.isdigit() and stem == "phi":
        words = f"direction of the multipole of order {m}, counter-clockwise from +x"
    else:
        words = MEANINGS.get(name, "")
    return Markup(words)


def symbol(name: str) -> str:
    """A parameter's symbol with its unit in mathtext; multipoles by their order."""
    stem, _, order = name.partition("_")
    if order.isdigit() and stem in ("a", "phi"):
        return rf"${'a' if stem == 'a' else chr(92) + 'varphi'}_{{{order}}}$"
    return SYMBOLS.get(name, name)


def html_symbol(name: str) -> Markup:
    """A parameter's symbol without its unit, for a web page."""
    words, _, _ = symbol(name).partition(" [")
    if not words.startswith("$"):
        return escape(words)
    words = words.strip("$").replace(r"\varphi", "φ").replace(r"\gamma", "γ")
    return Markup(re.sub(r"_(?:\{(?:\\rm )?(\w+)\}|(\w))", r"<sub>\1\2</sub>", words))


def decimals(sd: float) -> int | None:
    """Digits after the point that show two significant ones of a standard deviation; None for zero (a fixed value) and
    for those that need an exponent."""
    digits = 1 - math.floor(math.log10(sd)) if sd > 0 else 7
    return max(digits, 0) if -3 <= digits <= 6 else None


def value_with_error(mean: float, sd: float) -> str:
    """ "0.7012 ± 0.0031": two significant digits of the standard deviation; a fixed value has none."""
    if not sd > 0:
        return f"{mean:.6g} (fixed)"
    digits = decimals(sd)
    return f"{mean:.5g} ± {sd:.1e}" if digits is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def findings(summary: dict[str, Any], width: int) -> str:
    """The verdict where there is one, chi2, run time, and every warning, wrapped."""
    seconds = sum(summary["times"].values())
    lines = [
        f"$\\chi^2$ per pixel {summary['chi2_per_pixel']:.3f} over {summary['pixels_used']} pixels",
        f"{summary['chains']} chains of {summary['draws']} draws, prior {summary['prior']}, {seconds:.0f} s",
    ]
    if "verdict" in summary:
        lines.insert(0, textwrap.fill(f"{summary['verdict']['state'].upper()}: {summary['verdict']['words']}", width))
    warnings = summary["warnings"]
    lines += [textwrap.fill(f"! {words}", width, subsequent_indent="   ") for words in warnings]
    if not warnings:
        lines.append(textwrap.fill("No warnings: the chains agree, the residuals look like noise.", width))
    return "\n".join(lines)
