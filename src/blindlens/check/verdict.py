"""May the result be used? One of three states, and why."""

from typing import Any, NamedTuple

from ..posterior import PIXEL_FRAME, Posterior
from .bounds import bounds_warnings
from .residuals import residual_notes, residual_warnings

CHI2_LIMIT, R_HAT_LIMIT = 1.5, 1.5
"""Beyond these the mean model is not the image, or the error bars are too small by a half."""


class Verdict(NamedTuple):
    """state: "usable", "look at this" or "do not use"; words: a sentence that says why."""

    state: str
    words: str


def agreement(summary: dict[str, Any]) -> dict[str, float | None]:
    """r_hat of each free parameter that says something by itself, and of the source's numbers, by name."""
    told = {name: row for name, row in summary["parameters"].items() if name not in PIXEL_FRAME}
    told |= {f"source's {name}": row for name, row in summary["source"].items()}
    return {name: row["r_hat"] for name, row in told.items() if row["sd"] > 0}


def verdict(summary: dict[str, Any]) -> Verdict:
    """The state of a summary with all its warnings.

    "do not use" where chi2 per pixel of the mean model is above 1.5 or not finite, where some r_hat of `agreement` is
    above 1.5 (all chains together scatter half as much again as each of them does), or where it cannot be told; "look
    at this" for any other warning. The frame of the source's pixels (`posterior.PIXEL_FRAME`) does not decide: chains
    that differ in it alone have one source and one image.
    """
    chi2 = summary["chi2_per_pixel_of_mean_model"]
    if not chi2 < CHI2_LIMIT:
        return Verdict("do not use", f"the mean model does not explain the image: chi2 per pixel is {chi2:.2f}")
    told = agreement(summary)
    r_hat = {name: value for name, value in told.items() if value is not None}
    if len(r_hat) < len(told):
        return Verdict(
            "do not use", "whether the chains agree cannot be told: too few draws, or chains that do not move"
        )
    bad = sorted((name for name, value in r_hat.items() if value > R_HAT_LIMIT), key=lambda name: -r_hat[name])
    if bad:
        what = ", ".join(f"{name} {r_hat[name]:.2f}" for name in bad)
        return Verdict("do not use", f"the chains have not found one another (r_hat: {what}): errors are too small")
    if warnings := summary["warnings"]:
        what = "the warning" if len(warnings) == 1 else f"the {len(warnings)} warnings"
        return Verdict("look at this", f"nothing rules the result out, but quote no number before you have read {what}")
    return Verdict("usable", "the chains agree, the residuals look like noise, no prior range is hit")


def judged(posterior: Posterior) -> dict[str, Any]:
    """The posterior's summary, its notes and warnings joined by those on residuals and prior ranges; the `verdict`."""
    summary = posterior.summary()
    summary["notes"] = [*summary["notes"], *residual_notes(posterior)]
    summary["warnings"] += [*residual_warnings(posterior), *bounds_warnings(posterior)]
    summary["verdict"] = verdict(summary)._asdict()
    return summary
