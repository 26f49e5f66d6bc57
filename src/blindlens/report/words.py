"""Names and numbers as an astronomer prints them."""

import math
import textwrap
from typing import Any

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
    "x_light": r"$x_{\rm light}$ [″]",
    "y_light": r"$y_{\rm light}$ [″]",
    "q_light": r"$q_{\rm light}$",
    "phi_light": r"$\varphi_{\rm light}$",
}


def symbol(name: str) -> str:
    """A parameter's symbol with its unit in mathtext; multipoles by their order."""
    stem, _, order = name.partition("_")
    if order.isdigit() and stem in ("a", "phi"):
        return rf"${'a' if stem == 'a' else chr(92) + 'varphi'}_{{{order}}}$"
    return SYMBOLS.get(name, name)


def value_with_error(mean: float, sd: float) -> str:
    """ "0.7012 ± 0.0031": two significant digits of the standard deviation; a fixed value has none."""
    if not sd > 0:
        return f"{mean:.6g} (fixed)"
    digits = 1 - math.floor(math.log10(sd))
    if digits > 6 or digits < -3:
        return f"{mean:.5g} ± {sd:.1e}"
    digits = max(digits, 0)
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def verdict(summary: dict[str, Any], warnings: list[str], width: int) -> str:
    """chi2, run time, and every warning, wrapped."""
    seconds = sum(summary["times"].values())
    lines = [
        f"$\\chi^2$ per pixel {summary['chi2_per_pixel']:.3f} over {summary['pixels_used']} pixels",
        f"{summary['chains']} chains of {summary['draws']} draws, prior {summary['prior']}, {seconds:.0f} s",
    ]
    lines += [textwrap.fill(f"! {words}", width, subsequent_indent="   ") for words in warnings]
    if not warnings:
        lines.append(textwrap.fill("No warnings: the chains agree, the residuals look like noise.", width))
    return "\n".join(lines)
