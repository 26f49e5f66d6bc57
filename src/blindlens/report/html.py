"""One self-contained web page of a posterior: no file, script or address beside it."""

import base64
import io
from typing import Any, NamedTuple

import jinja2
import yaml
from matplotlib.figure import Figure
from PIL import Image

from ..posterior import Posterior
from .diagnostics import chi2_figure, convergence_figure, residual_figure, trace_figure
from .pictures import Panel
from .plots import data_panels, input_panels, lens_lines, source_panels
from .tables import derived_rows, headlines, parameter_rows

MARKS = {"usable": "✓", "look at this": "!", "do not use": "✕"}
DRAWS = 4
"""Draws of the source on the page."""


class Picture(NamedTuple):
    """An embedded picture: a data URI, and what it shows for those who cannot see it."""

    uri: str
    alt: str


def page(posterior: Posterior, summary: dict[str, Any], corner: bytes) -> str:
    """The report as HTML. summary: as `check.verdict.judged` gives it. corner: the corner plot as PNG.

    Verdict and headline numbers, data and source, parameters, diagnostics, inputs, provenance, in this order. Names and
    words from the data are escaped. A key "derived" of the summary, {values, assumed, notes}, adds a table.
    """
    critical, caustic = lens_lines(posterior)
    data, attrs = data_panels(posterior, critical), posterior.attrs
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blindlens.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        summary=summary,
        mark=MARKS[summary["verdict"]["state"]],
        headlines=headlines(posterior, summary),
        data=[_panel(data[key]) for key in ("data", "model", "residual")],
        light=[_panel(data[key]) for key in ("arcs", "light", "lensed") if key in data],
        source=[_panel(panel, bar=True) for panel in source_panels(posterior, caustic, DRAWS)],
        corner=Picture(_uri(_few_colours(corner)), "corner plot of all parameters"),
        rows=parameter_rows(posterior, summary),
        derived=derived_rows(summary),
        assumed={k: v for k, v in summary.get("derived", {}).get("assumed", {}).items() if v is not None},
        missing=summary.get("derived", {}).get("notes", []),
        diagnostics=[
            _figure(convergence_figure(summary), "r_hat and effective sample size of every parameter"),
            _figure(trace_figure(posterior), "traces of the main parameters, a colour a chain"),
            _figure(residual_figure(posterior), "histogram of the normalised residuals against N(0, 1)"),
            _figure(chi2_figure(posterior), "chi2 per pixel of every draw"),
        ],
        inputs=[_panel(panel) for panel in input_panels(posterior)],
        pixel_scale=attrs["pixel_scale"],
        shape=posterior.image("image").shape,
        masked=int((posterior.image("mask") == 0).sum()),
        facts=_facts(attrs),
        config=yaml.safe_dump(attrs["config"], sort_keys=False, allow_unicode=True),
    )


def _facts(attrs: dict[str, Any]) -> dict[str, str]:
    """What made the result, name: words."""
    config = attrs["config"]
    times = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in attrs.get("times", {}).items())
    facts = {
        "blindlens": attrs["inference_library_version"],
        "made": attrs["created_at"],
        "prior": attrs.get("prior"),
        "mass": " + ".join(attrs.get("mass", [])),
        "method": config.get("method"),
        "seed": attrs.get("seed"),
        "modes kept at the start": attrs.get("modes"),
        "times": times,
        "command": attrs.get("command"),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _panel(panel: Panel, bar: bool = False) -> Picture:
    figure = Figure(figsize=(3.8, 3.4))
    panel.draw(figure.add_axes((0.165, 0.13, 0.68, 0.79)), bar)  # the same place in every picture
    return _figure(figure, panel.title)


def _figure(figure: Figure, alt: str) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png", pil_kwargs={"optimize": True})
    return Picture(_uri(buffer.getvalue()), alt)


def _few_colours(png: bytes) -> bytes:
    """A drawing of lines and dots with a palette, which takes a third of the space."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE).save(
        buffer, "png", optimize=True
    )
    return buffer.getvalue()


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
