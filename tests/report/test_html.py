"""The page holds the posterior's numbers and pictures, stands alone, and is valid HTML."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import make_posterior
from PIL import Image

from blindlens.check.verdict import judged
from blindlens.report.html import page
from blindlens.report.plots import data_panels, input_panels, source_panels
from blindlens.report.tables import headlines, parameter_rows

VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Checks that tags nest; gathers pictures, links, table rows, and text by tag."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.pictures = [], [], [], {}
        self.rows, self.texts = [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "img":
            kind, data = dict(attrs)["src"].split(",", 1)
            assert kind == "data:image/png;base64"
            self.pictures[dict(attrs)["alt"]] = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag] = self.texts.get(tag, "") + data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


CORNER = io.BytesIO()
Image.new("RGB", (30, 20)).save(CORNER, "png")


def made(posterior, **extra) -> tuple[str, Page, dict]:
    summary = judged(posterior) | extra
    text = page(posterior, summary, CORNER.getvalue())
    return text, Page(text), summary


@pytest.fixture(scope="module")
def good(posterior):
    return made(posterior)


def test_it_stands_alone(good):
    text, parsed, _ = good
    assert text.startswith("<!DOCTYPE html>") and len(text) < 4_000_000
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(parsed.tags)
    assert not {"href", "srcset", "style"} & {name for name, _ in parsed.attributes}
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert parsed.tags.count("html") == parsed.tags.count("title") == parsed.tags.count("h1") == 1
    assert parsed.pictures["corner plot of all parameters"].size == (30, 20)
    assert len(parsed.pictures) == 3 + 6 + 1 + 4 + 3
    others = [np.asarray(p) for name, p in parsed.pictures.items() if not name.startswith("corner")]
    assert all(p.std() > 5 and min(p.shape[:2]) > 300 for p in others)


def test_the_table_holds_the_posteriors_numbers(good, posterior):
    _, parsed, summary = good
    header, *rows = parsed.rows
    table = {row[0].split()[-1]: dict(zip(header, row, strict=True)) for row in rows}
    source = {f"source_{name}": p for name, p in summary["source"].items()}
    assert list(table) == [*posterior.lens, *source]
    for name, row in table.items():
        p = (summary["parameters"] | source)[name]
        half_digit = 0.5 * 10.0 ** -len(row["sd"].partition(".")[2])
        assert half_digit < 0.05 * p["sd"]
        for key, column in (("mean", "mean"), ("sd", "sd"), ("q16", "16 %"), ("q50", "50 %"), ("q84", "84 %")):
            assert float(row[column]) == pytest.approx(p[key], abs=1.01 * half_digit), (name, key)
        assert float(row["r_hat"]) == pytest.approx(p["r_hat"], abs=0.006)
        assert float(row["ess"]) == pytest.approx(p["ess"], abs=0.51)
        assert row["what it is"] and "at its end" not in row["prior range"]
    draws = posterior.lens["Rein"].values
    assert float(table["Rein"]["16 %"]) == pytest.approx(np.quantile(draws, 0.16), abs=1e-4)
    assert table["Rein"]["prior range"] == "0.8 to 2.2" and table["Rein"]["unit"] == "arcsec"
    assert table["phi_3"]["prior range"] == "0 to 2.094" and table["phi_3"]["unit"] == "rad"


def test_headlines_are_in_the_fields_terms(good, posterior):
    _, parsed, summary = good
    shown = {h.label.striptags(): h for h in headlines(posterior, summary)}
    mean = posterior.mean()

    def number(label):
        return float(shown[label].value.partition(" ")[0])

    assert number("Einstein radius θE") == pytest.approx(mean["Rein"], abs=1e-4)
    assert number("axis ratio q") == pytest.approx(mean["q"], abs=1e-4)
    assert number("major axis φ") == pytest.approx(np.degrees(mean["phi"]) % 180, abs=0.06)
    assert number("slope γ") == pytest.approx(1 + mean["t"], abs=1e-4)
    assert number("external shear") == pytest.approx(np.hypot(0.03, -0.02), abs=2e-3)
    assert number("shear's direction") == pytest.approx(180 + np.degrees(np.arctan2(-0.02, 0.03)) / 2, abs=1)
    assert number("χ² per pixel") == pytest.approx(summary["chi2_per_pixel"], abs=6e-4)
    assert all(h.settled for h in shown.values())
    for h in shown.values():
        assert h.value in parsed.texts["b"]


def test_verdicts(good):
    _, parsed, _ = good
    assert "Usable" in parsed.texts["header"] and ("class", "verdict usable") in parsed.attributes
    assert parsed.tags.count("li") == len(good[2]["notes"]) > 0


def test_a_range_that_is_hit_is_marked_in_the_table():
    posterior = make_posterior(draws=20)
    posterior.lens["t"].values[...] = 1.2 - np.abs(posterior.lens["t"].values - 1.05)
    assert [row.name for row in parameter_rows(posterior, posterior.summary()) if row.at_end] == ["t"]


@pytest.fixture(scope="module")
def bad():
    """Chains apart, t at the end of its range, lens light, a fixed parameter, and names with markup."""
    posterior = make_posterior(draws=20, fixed=("x0",), lens_light=True, shape=(61, 80), spread=3.0)
    posterior.lens["t"].values[...] = 1.2 - np.abs(posterior.lens["t"].values - 1.05) / 10
    posterior.tree.attrs["name"] = "<b>&lens"
    posterior.tree.attrs["command"] = "blindlens infer 'a <i>.fits'"
    values = {
        "mass_position_angle": {"mean": 133.4, "sd": 0.5, "unit": "deg"},
        "einstein_mass": {"mean": 3.21e11, "sd": 1.5e9, "unit": "Msun", "q16": 3.19e11, "q84": 3.22e11},
        "magnification": {"mean": 12.34, "sd": 0.56, "q16": 11.8, "q84": 12.9, "meaning": "of the <whole> source"},
        "nothing": {"mean": None, "sd": None, "unit": "kpc"},
    }
    derived = {"values": values, "assumed": {"z_lens": 0.5, "z_source": None}, "notes": ["no <b>magnitudes</b>"]}
    return posterior, *made(posterior, derived=derived, notes=["<script>alert(1)</script>"])


def test_what_is_wrong_is_said_and_marked(bad):
    _, _, parsed, summary = bad
    assert "Do not use" in parsed.texts["header"] and ("class", "verdict do-not-use") in parsed.attributes
    assert len(summary["warnings"]) == 2 and all(warning in parsed.texts["header"] for warning in summary["warnings"])
    assert "chains disagree" in parsed.texts["header"] and ("class", "n bad") in parsed.attributes
    marked = [row[0].split()[-1] for row in parsed.rows if any("at its end" in cell for cell in row)]
    assert marked == ["t"] and "t piles up at the upper end" in parsed.texts["header"]


def test_words_from_outside_are_escaped_and_derived_quantities_shown(bad):
    _, _, parsed, _ = bad
    assert parsed.texts["h1"] == "<b>&lens" and "script" not in parsed.tags
    assert "blindlens infer 'a <i>.fits'" in parsed.texts["code"]
    assert "<script>alert(1)</script>" in parsed.texts["li"]
    rows = {row[0]: row[1:] for row in parsed.rows}
    assert rows["einstein mass"] == ["3.21e+11 ± 1.5e+09", "3.19e+11 to 3.22e+11", "Msun", ""]
    assert rows["magnification"] == ["12.34 ± 0.56", "11.80 to 12.90", "", "of the <whole> source"]
    assert rows["nothing"] == ["–", "", "kpc", ""]
    assert "z_lens = 0.5." in parsed.texts["p"] and "no <b>magnitudes</b>." in parsed.texts["p"]
    assert "position angle 133.40 ± 0.50°" in parsed.texts["header"]
    fixed = next(row for row in parsed.rows if row[0].endswith("x0"))
    assert fixed[2:7] == ["0.05", "fixed", "", "", ""]
    assert yaml.safe_load(parsed.texts["pre"]) == {"draws": 20}


def test_lens_light_and_source_apart(bad):
    posterior, _, parsed, _ = bad
    assert "Lens light and source apart" in parsed.texts["h3"]
    assert {"data without lens light", "lens light", "lensed source"} <= set(parsed.pictures)
    panels = data_panels(posterior, [])
    used = posterior.image("mask") != 0
    light, lensed = panels["light"].values, panels["lensed"].values
    np.testing.assert_allclose((light + lensed)[used], panels["model"].values[used])
    np.testing.assert_allclose((panels["arcs"].values + light)[used], posterior.image("image")[used])
    assert np.isnan(panels["arcs"].values[~used]).all() and panels["arcs"].norm is not panels["data"].norm
    assert panels["residual"].norm.vmin == -4 and panels["residual"].norm.vmax == 4


def test_sources_share_one_stretch_and_inputs_are_all_shown(posterior):
    mean, spread, *draws = source_panels(posterior, [], 4)
    assert [d.title for d in draws] == [
        "chain 1, draw 1",
        "chain 2, draw 34",
        "chain 3, draw 67",
        "chain 4, draw 100",
    ]
    assert all(d.norm is mean.norm for d in draws) and spread.values.min() >= 0
    noise, mask, psf = input_panels(posterior)
    assert np.isnan(noise.values[12, 65]) and noise.values[0, 0] == posterior.image("noise")[0, 0]
    assert mask.values.sum() == (posterior.image("mask") != 0).sum() and psf.half == pytest.approx((0.28, 0.28))
    more = make_posterior(draws=4)
    constant = more.tree["constant_data"].to_dataset()
    constant["contaminants"] = 1.0 * (constant["mask"] == 0)
    more.tree["constant_data"] = xr.DataTree(constant)
    assert input_panels(more)[3].title == "contaminants"
