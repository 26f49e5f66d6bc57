"""COOLEST templates: what ours holds, what comes back, and what COOLEST's and lenstronomy's own readers make of it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from conftest import TRUTH, make_posterior

from blindlens.config.physics import PhysicsConfig
from blindlens.conventions.coolest_file import read_coolest, write_coolest
from blindlens.errors import BlindlensError
from blindlens.inference.given import read_sets
from blindlens.lens.mass import LensModel

KNOWN = PhysicsConfig(z_lens=0.4, z_source=1.5, zero_point=25.0)


@pytest.fixture
def template(tmp_path, posterior):
    write_coolest(posterior, tmp_path / "lens.json", KNOWN, mean_source(posterior))
    return tmp_path / "lens.json"


def mean_source(posterior):
    return posterior.source.mean(("chain", "draw")).values


def entities(path):
    return {entity["name"]: entity for entity in json.loads(path.read_text())["lensing_entities"]}


def test_structure(template, posterior):
    content = json.loads(template.read_text())
    assert content["standard"] == "COOLEST" and content["mode"] == "MAP"
    assert set(content) == {
        "standard", "mode", "coordinates_origin", "observation", "instrument", "likelihoods", "cosmology",
        "lensing_entities", "meta",
    }  # fmt: skip
    shear, lens, source = content["lensing_entities"]
    assert [(e["type"], e["redshift"]) for e in (shear, lens, source)] == [
        ("MassField", 0.4), ("Galaxy", 0.4), ("Galaxy", 1.5)
    ]  # fmt: skip
    (main,) = lens["mass_model"]
    assert main["type"] == "PEMD" and main["id"] == "1-galaxy-mass-0-PEMD"
    assert set(main["parameters"]) == {"theta_E", "gamma", "q", "phi", "center_x", "center_y"}
    radius, rows = main["parameters"]["theta_E"], posterior.lens["Rein"].values
    assert radius["id"] == "1-galaxy-mass-0-PEMD-theta_E" and radius["fixed"] is False
    assert radius["point_estimate"]["value"] == pytest.approx(rows.mean())
    quantiles = np.quantile(rows, [0.5, 0.16, 0.84])
    stats = radius["posterior_stats"]
    assert [stats[k] for k in ("median", "percentile_16th", "percentile_84th")] == pytest.approx(list(quantiles))
    assert [(k["m"], round(k["a_m"], 4)) for k in content["meta"]["multipoles"]] == [(3, 0.004)]
    assert content["cosmology"]["H0"] == pytest.approx(67.66) and content["observation"]["mag_zero_point"] == 25.0


def test_angles_across_the_cut(template):
    """phi = 0.01 is -89.4 degrees; draws on the other side of the cut stay beside it."""
    phi = entities(template)["lens"]["mass_model"][0]["parameters"]["phi"]
    assert phi["point_estimate"]["value"] == pytest.approx(np.degrees(0.01) - 90, abs=0.3)
    stats = phi["posterior_stats"]
    assert stats["mean"] == pytest.approx(phi["point_estimate"]["value"], abs=1e-6)
    assert stats["percentile_84th"] - stats["percentile_16th"] == pytest.approx(2 * np.degrees(0.02), rel=0.2)


def test_images_are_squares_in_their_place(tmp_path):
    """A posterior of a part of an image, not square, with a PSF that is not: pixels keep their coordinates."""
    posterior = make_posterior()
    tree = posterior.tree
    narrow = {name: tree[name].to_dataset().isel(x=slice(5, 72)) for name in ("observed_data", "model")}
    constant = tree["constant_data"].to_dataset().isel(x=slice(5, 72), psf_x=slice(1, 6))
    for name, data in {**narrow, "constant_data": constant}.items():
        tree[name] = data
    write_coolest(posterior, tmp_path / "lens.json", KNOWN, mean_source(posterior))
    content = json.loads((tmp_path / "lens.json").read_text())
    grid = content["observation"]["pixels"]
    assert (grid["num_pix_x"], grid["num_pix_y"]) == (80, 80)
    image = fits.getdata(tmp_path / grid["fits_file"]["path"])
    mask = fits.getdata(tmp_path / "lens-mask.fits")
    assert image.shape == (80, 80) and mask[:, :6].sum() == 0 == mask[:, 73:].sum()
    np.testing.assert_allclose(image[:, 6:73], posterior.image("image"))
    # 67 columns centred on 0, six masked ones to their left: the border begins 39.5 pixels to the left of the centre
    assert grid["field_of_view_x"] == pytest.approx([-39.5 * 0.08, 40.5 * 0.08])
    assert grid["field_of_view_y"] == pytest.approx([-3.2, 3.2])
    assert fits.getdata(tmp_path / "lens-psf.fits").shape == (7, 7)
    source = entities(tmp_path / "lens.json")["source"]["light_model"][0]["parameters"]["pixels"]
    mean = posterior.mean()
    assert np.mean(source["field_of_view_x"]) == pytest.approx(mean["xs"])
    assert np.mean(source["field_of_view_y"]) == pytest.approx(mean["ys"])
    pixels = fits.getdata(tmp_path / "lens-source.fits")
    np.testing.assert_allclose(pixels, mean_source(posterior), rtol=1e-6)


def test_the_lens_comes_back(template, posterior):
    p, mean = read_coolest(template), posterior.mean()
    assert list(p) == list(TRUTH)
    np.testing.assert_allclose(list(p.values()), [mean[name] for name in p], atol=1e-12)
    assert read_sets(template) == [p]  # as --init and --lens-params read it


def test_a_template_of_another_program(tmp_path):
    """An isothermal lens without statistics, meta of its own, a Sersic source."""

    def parameters(**values):
        return {name: {"point_estimate": {"value": value}} for name, value in values.items()}

    mass = {"type": "SIE", "parameters": parameters(theta_E=1.1, q=0.7, phi=30.0, center_x=0.1, center_y=0.0)}
    lens = {"type": "Galaxy", "name": "lens", "redshift": 0.5, "mass_model": [mass], "light_model": []}
    content = {"standard": "COOLEST", "meta": {"made": "today"}, "lensing_entities": [lens]}
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content))
    assert read_coolest(path) == pytest.approx({"x0": 0.1, "y0": 0.0, "q": 0.7, "phi": np.radians(120), "Rein": 1.1})
    mass["type"] = "NFW"
    for broken, words in [
        ({**content}, "NFW has no counterpart"),
        ({"standard": "COOLEST"}, "no complete COOLEST template"),
        ({"lens": 1}, "no COOLEST template; its"),
        ({**content, "lensing_entities": [{**lens, "mass_model": [{"type": "SIE", "parameters": {}}]}]}, "center_x"),
    ]:
        path.write_text(json.dumps(broken))
        with pytest.raises(BlindlensError, match=words):
            read_coolest(path)
    path.write_text("{")
    with pytest.raises(BlindlensError, match="no readable JSON"):
        read_coolest(path)
    with pytest.raises(BlindlensError, match="no readable JSON"):
        read_coolest(tmp_path / "none.json")


def test_lens_light_is_named_in_meta(tmp_path):
    posterior = make_posterior(lens_light=True)
    files = write_coolest(posterior, tmp_path / "lens.json", KNOWN)
    meta = json.loads((tmp_path / "lens.json").read_text())["meta"]
    assert meta["lens_light"]["fits_file"]["path"] == "lens-lens-light.fits" and files[-1].is_file()
    np.testing.assert_allclose(fits.getdata(files[-1]), posterior.image("lens_light"))


def test_the_suffix(tmp_path, posterior):
    with pytest.raises(BlindlensError, match="write to .*lens.yaml.json instead"):
        write_coolest(posterior, tmp_path / "lens.yaml", KNOWN)


@pytest.mark.oracle
def test_coolests_own_reader(template, posterior):
    reader = pytest.importorskip("coolest.template.json")
    found = reader.JSONSerializer(str(template.with_suffix("")), check_external_files=True).load(verbose=False)
    assert found.mode == "MAP" and found.cosmology.Om0 == pytest.approx(0.30966)
    shear, lens, source = found.lensing_entities
    mean = posterior.mean()
    assert lens.mass_model[0].parameters["theta_E"].point_estimate.value == pytest.approx(mean["Rein"])
    assert lens.mass_model[0].parameters["phi"].posterior_stats.percentile_16th < -89
    assert lens.mass_model[0].id == "1-galaxy-mass-0-PEMD" and shear.mass_model[0].type == "ExternalShear"
    pixels = source.light_model[0].parameters["pixels"]
    np.testing.assert_allclose(pixels.get_pixels(), mean_source(posterior), rtol=1e-6)
    assert pixels.pixel_size == pytest.approx(posterior.attrs["source_fov"] / 48)
    used = found.likelihoods[0].get_mask_pixels(directory=str(template.parent))
    np.testing.assert_array_equal(used, posterior.image("mask"))


@pytest.mark.oracle
def test_lenstronomys_importer_gives_the_same_deflections(tmp_path, posterior):
    """Its x points left: deflections at (-x, y) with the sign of x changed. It takes no multipoles from `meta`."""
    interface = pytest.importorskip("lenstronomy.Util.coolest_interface")
    from lenstronomy.LensModel.lens_model import LensModel as Theirs

    write_coolest(posterior, tmp_path / "lens.json", KNOWN)
    found = interface.create_lenstronomy_from_coolest(str(tmp_path / "lens"), check_external_files=True)
    names, kwargs = found["kwargs_model"]["lens_model_list"], found["kwargs_result"]["kwargs_lens"]
    assert sorted(names) == ["EPL", "SHEAR"] and found["redshift_list"] == [0.4, 0.4, 1.5]
    x, y = np.random.default_rng(0).uniform(-3, 3, (2, 200))
    ax, ay = Theirs(names).alpha(-x, y, kwargs)
    p = read_coolest(tmp_path / "lens.json")
    with jax.enable_x64(True):
        model = LensModel(("epl", "shear"))
        values = {k: jnp.asarray(v) for k, v in p.items()}
        expected = np.stack(model.deflection(values, jnp.asarray(x), jnp.asarray(y)))
        np.testing.assert_allclose(np.stack([-ax, ay]), expected, atol=1e-6)
    assert np.abs(np.stack(Theirs(names).alpha(x, y, kwargs)) - expected).max() > 1e-3  # the control
    centre = found["kwargs_data"]
    assert centre["ra_at_xy_0"] == pytest.approx(39.5 * 0.08) and centre["dec_at_xy_0"] == pytest.approx(-39.5 * 0.08)
