"""Observation: what FITS files can do to us."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits

from blindlens.errors import BlindlensError
from blindlens.observation import Observation

NY, NX = 12, 15


def gaussian(shape: tuple[int, int], sigma: float = 1.2, centre: tuple[float, float] | None = None) -> np.ndarray:
    cy, cx = centre if centre is not None else ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    y, x = np.indices(shape)
    kernel = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


def moments(kernel: np.ndarray) -> tuple[float, float, float]:
    """Offset of the centroid from the middle pixel in y and x, and the mean variance per axis."""
    y, x = np.indices(kernel.shape)
    cy, cx = (float((kernel * g).sum() / kernel.sum()) for g in (y, x))
    variance = float((kernel * ((y - cy) ** 2 + (x - cx) ** 2)).sum() / kernel.sum() / 2)
    return cy - kernel.shape[0] // 2, cx - kernel.shape[1] // 2, variance


@pytest.fixture
def parts() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "SCI": rng.normal(size=(NY, NX)),
        "NOISE": rng.uniform(0.5, 1.5, size=(NY, NX)),
        "PSF": gaussian((7, 5)),
        "MASK": (rng.uniform(size=(NY, NX)) > 0.1).astype(np.uint8),
    }


def write(path, parts, scale: float | None = 0.05, compress=False, **header):
    hdus = [fits.PrimaryHDU()]
    for name, data in parts.items():
        hdu = fits.CompImageHDU(data, name=name) if compress else fits.ImageHDU(data, name=name)
        if name in ("SCI", "DATA", "OTHER"):
            if scale is not None:
                hdu.header["PIXSCALE"] = scale
            for key, value in header.items():
                hdu.header[key.replace("__", "-")] = value
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def test_round_trip_is_exact(tmp_path, parts):
    parts["NOISE"][0, 0] = 0
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1, "CD1_1": -0.05 / 3600, "CD2_2": 0.05 / 3600}
    first = Observation.from_fits(write(tmp_path / "a.fits", parts, **wcs))
    for name in ("b.fits", "b.fits.gz"):
        first.to_fits(tmp_path / name)
        again = Observation.from_fits(tmp_path / name)
        for key in ("image", "noise", "psf", "mask"):
            np.testing.assert_array_equal(getattr(again, key), getattr(first, key))
        assert again.pixel_scale == pytest.approx(0.05) and again.header == first.header
        assert again.header["CRVAL1"] == 150.1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("dtype", "compress"),
    [(">f4", False), ("<f4", False), (">f8", False), (">i2", False), ("u1", False), (">i2", True), (">i4", True)],
)
def test_any_number_type(tmp_path, parts, dtype, compress):
    parts["SCI"] = np.clip(np.round(40 * np.abs(parts["SCI"])), 0, 200).astype(dtype)
    parts["MASK"][:] = 1
    observation = Observation.from_fits(write(tmp_path / "a.fits", parts, compress=compress))
    np.testing.assert_array_equal(observation.image, parts["SCI"].astype(float))
    assert observation.image.dtype == np.dtype("float64") and observation.image.dtype.isnative


def test_separate_files_first_image_hdu_and_unit_axes(tmp_path, parts):
    write(tmp_path / "i.fits", {"OTHER": parts["SCI"][None]})
    write(tmp_path / "n.fits", {"WEIRD": parts["NOISE"]})
    fits.PrimaryHDU(parts["PSF"]).writeto(tmp_path / "p.fits")
    with open(tmp_path / "p.fits", "rb") as raw, gzip.open(tmp_path / "p.fits.gz", "wb") as packed:
        shutil.copyfileobj(raw, packed)
    observation = Observation.from_fits(tmp_path / "i.fits", tmp_path / "n.fits", tmp_path / "p.fits.gz")
    np.testing.assert_array_equal(observation.image, parts["SCI"])
    np.testing.assert_array_equal(observation.noise, parts["NOISE"])
    assert observation.n_used == NY * NX


@pytest.mark.parametrize(
    ("cards", "scale"),
    [
        ({"CTYPE1": "RA---TAN", "CD1_1": -2e-5, "CD1_2": 1e-5, "CD2_1": 1e-5, "CD2_2": 2e-5}, 3600 * 5**0.5 * 1e-5),
        ({"CTYPE1": "RA---TAN", "CDELT1": -1e-5, "CDELT2": 1e-5}, 0.036),
        ({"CUNIT1": "arcsec", "CDELT1": 0.2, "CDELT2": 0.2}, 0.2),
        ({"PIXSCALE": 0.13}, 0.13),
        ({"PIXSCAX": 0.05, "PIXSCAY": 0.05}, 0.05),
        ({"CTYPE1": "RA---TAN", "CDELT1": -1e-5, "CDELT2": 1e-5, "PIXSCALE": 9.0}, 0.036),
        ({"CDELT1": 1.0, "CDELT2": 1.0, "PIXSCAX": 0.3}, 0.3),
    ],
)
def test_pixel_scale_from_header(tmp_path, parts, cards, scale):
    write(tmp_path / "a.fits", parts, scale=None, **cards)
    assert Observation.from_fits(tmp_path / "a.fits").pixel_scale == pytest.approx(scale, rel=1e-6)


def test_pixel_scale_argument(tmp_path, parts):
    write(tmp_path / "a.fits", parts, scale=0.05)
    write(tmp_path / "b.fits", parts, scale=None)
    observation = Observation.from_fits(tmp_path / "a.fits", pixel_scale=0.1)
    assert observation.pixel_scale == 0.1 and "0.05" in " ".join(observation.notes)
    assert Observation.from_fits(tmp_path / "b.fits", pixel_scale=0.2).notes == ()
    with pytest.raises(BlindlensError, match="--pixel-scale"):
        Observation.from_fits(tmp_path / "b.fits")
    with pytest.raises(BlindlensError, match="positive"):
        Observation.from_fits(tmp_path / "b.fits", pixel_scale=-1)
    write(tmp_path / "c.fits", parts, scale=None, PIXSCAX=0.05, PIXSCAY=0.06)
    with pytest.raises(BlindlensError, match="not square"):
        Observation.from_fits(tmp_path / "c.fits")


def test_bad_pixels_are_masked_and_counted(parts):
    image, noise = parts["SCI"].copy(), parts["NOISE"].copy()
    image[0, 0], image[0, 1] = np.nan, np.inf
    noise[1, 0], noise[1, 1], noise[1, 2], noise[1, 3], noise[1, 4] = 0, -1, np.nan, 1e16, 1e8
    observation = Observation(image, noise, parts["PSF"], pixel_scale=0.1)
    assert observation.n_used == NY * NX - 7 and "7 of 180 pixels masked" in observation.notes[0]
    assert (observation.image[~observation.mask] == 0).all() and (observation.noise[~observation.mask] == 1).all()
    noise[1:6] = 1e16  # most pixels are bad: what counts as typical must not drift
    assert Observation(image, noise, parts["PSF"], pixel_scale=0.1).n_used == 7 * NX - 2


@pytest.mark.parametrize("centre", [(4, 4), (3, 3), (3.5, 3.5)])
def test_even_kernels_are_centred_without_broadening(parts, centre):
    kernel = 0.95 * gaussian((8, 8), 1.1, centre)
    observation = Observation(parts["SCI"], parts["NOISE"], kernel, pixel_scale=0.1)
    dy, dx, variance = moments(observation.psf)
    assert observation.psf.shape == (9, 9) and observation.psf.sum() == pytest.approx(1, abs=1e-12)
    assert abs(dy) < 0.02 and abs(dx) < 0.02
    assert variance == pytest.approx(moments(kernel)[2], rel=0.02)
    assert "0.95" in observation.notes[0] and "odd" in observation.notes[1]


def test_coordinates_are_centred(parts):
    x, y = Observation(parts["SCI"], parts["NOISE"], parts["PSF"], pixel_scale=0.1).coordinates()
    assert x[0, 0] == pytest.approx(-0.7) and y[0, 0] == pytest.approx(-0.55)
    assert abs(x.mean()) < 1e-12 and abs(y.mean()) < 1e-12


@pytest.mark.parametrize("k", [2, 3])
def test_binning_conserves_means_noise_and_centre(k):
    rng = np.random.default_rng(2)
    shape = (24, 18)
    x, y = Observation(np.ones(shape), np.ones(shape), np.ones((1, 1)), pixel_scale=1.0).coordinates()
    mask = np.ones(shape, bool)
    mask[3, 4] = False
    noise = np.full(shape, 2.0)
    draws = [
        Observation(3 * x - y + 2 * rng.normal(size=shape), noise, gaussian((7, 7)), mask, 1.0).binned(k)
        for _ in range(200)
    ]
    images = np.array([d.image for d in draws])
    cx, cy = draws[0].coordinates()
    whole = np.isclose(draws[0].noise, 2 / k)
    assert whole.sum() == whole.size - 1
    z = (images.mean(0) - (3 * cx - cy)) / draws[0].noise * np.sqrt(200)
    assert abs(z[whole]).max() < 4.5
    np.testing.assert_allclose(images.std(0), draws[0].noise, rtol=0.25)
    dy, dx, variance = moments(draws[0].psf)
    assert abs(dy) < 1e-9 and abs(dx) < 1e-9 and draws[0].psf.sum() == pytest.approx(1, abs=1e-12)
    expected = moments(gaussian((7, 7)))[2] + (k**2 - 1) / 6  # two boxes of k pixels; without them 10 % less
    assert variance * k**2 == pytest.approx(expected, rel=0.03)


def test_binning_that_would_move_the_centre_is_refused(parts):
    with pytest.raises(BlindlensError, match="odd k"):
        Observation(parts["SCI"], parts["NOISE"], parts["PSF"], pixel_scale=0.1).binned(2)


def broken(kind, path, parts):
    """Write or spoil a file in a way that users manage to; return the expected words."""
    if kind == "missing file":
        return "no file"
    if kind == "empty":
        path.write_bytes(b"")
        return "not a readable FITS"
    if kind == "not FITS":
        path.write_text("hello" * 1000)
        return "not a readable FITS"
    if kind == "no image":
        fits.HDUList([fits.PrimaryHDU()]).writeto(path)
        return "no two-dimensional image"
    if kind in ("truncated", "truncated gzip", "truncated header"):
        whole = path.with_name("whole.fits" + (".gz" if kind == "truncated gzip" else ""))
        write(whole, {**parts, "SCI": np.random.default_rng(0).normal(size=(100, 100))})
        path.write_bytes(whole.read_bytes()[: 3000 if kind == "truncated header" else 20000])
        return "not a readable FITS"
    spoil = {
        "all NaN": ("SCI", parts["SCI"] * np.nan, "finite"),
        "noise shape": ("NOISE", parts["NOISE"][:-1], "noise map has shape"),
        "mask shape": ("MASK", parts["MASK"].T, "mask has shape"),
        "cube": ("SCI", np.ones((3, NY, NX)), "two-dimensional"),
        "zero PSF": ("PSF", 0 * parts["PSF"], "PSF"),
        "NaN PSF": ("PSF", np.nan * parts["PSF"], "PSF"),
        "negative PSF": ("PSF", -parts["PSF"], "PSF"),
        "empty mask": ("MASK", 0 * parts["MASK"], "no pixel is left"),
        "negative noise": ("NOISE", -parts["NOISE"], "no pixel is left"),
        "no noise": ("NOISE", None, "--noise"),
        "no PSF": ("PSF", None, "--psf"),
    }
    key, value, words = spoil[kind]
    parts = {**parts, key: value}
    write(path, {k: v for k, v in parts.items() if v is not None})
    return words


KINDS = [
    "missing file", "empty", "not FITS", "no image", "truncated", "truncated gzip", "truncated header", "all NaN",
    "noise shape", "mask shape", "cube", "zero PSF", "NaN PSF", "negative PSF", "empty mask", "negative noise",
    "no noise", "no PSF",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_one_sentence(tmp_path, parts, kind):
    path = tmp_path / ("bad.fits.gz" if kind == "truncated gzip" else "bad.fits")
    words = broken(kind, path, parts)
    with pytest.raises(BlindlensError, match=words) as error:
        Observation.from_fits(path)
    assert "\n" not in str(error.value)


def test_cropping_keeps_the_centre_and_the_sky():
    image = np.arange(7 * 9, dtype=float).reshape(7, 9)
    header = {"CRPIX1": 5.0, "CRPIX2": 4.0}
    whole = Observation(image, np.ones((7, 9)), np.ones((3, 3)), pixel_scale=0.1, header=header)
    part = whole.cropped((3, 5))
    np.testing.assert_array_equal(part.image, image[2:5, 2:7])
    assert part.header == {"CRPIX1": 3.0, "CRPIX2": 2.0}
    x, y = part.coordinates()
    assert x.mean() == pytest.approx(0, abs=1e-12) and y.mean() == pytest.approx(0, abs=1e-12)
    for shape in ((4, 5), (9, 9), (0, 5)):
        with pytest.raises(BlindlensError, match="no central part"):
            whole.cropped(shape)


@pytest.mark.parametrize(
    ("name", "power", "words"),
    [("ERR", 1, None), ("VAR", 2, "variance"), ("IVAR", -2, "inverse variance"), ("WHT", -2, "inverse variance")],
)
def test_noise_extensions_of_every_kind(tmp_path, parts, name, power, words):
    noise = parts.pop("NOISE")
    given = noise**power
    given[0, 0] = 0
    path = write(tmp_path / "a.fits", {**parts, name: given})
    parts["MASK"][0, 0] = 1
    for observation in (
        Observation.from_fits(path),
        Observation.from_fits(write(tmp_path / "b.fits", {**parts}), noise=path),
    ):
        used = observation.mask
        np.testing.assert_allclose(observation.noise[used], noise[used])
        assert not used[0, 0]
        assert any(str(words) in note and name in note for note in observation.notes) == (words is not None)


def test_noise_from_rms(tmp_path, parts):
    path = write(tmp_path / "a.fits", {k: v for k, v in parts.items() if k != "NOISE"})
    with pytest.raises(BlindlensError, match="--noise FILE .* or --background-rms"):
        Observation.from_fits(path)
    observation = Observation.from_fits(path, background_rms=0.9)
    assert (observation.noise[observation.mask] == 0.9).all() and observation.notes == ()
    photons = Observation.from_fits(path, background_rms=0.9, exposure=10, gain=2)
    assert (photons.noise[photons.mask] >= 0.9).all() and photons.noise.max() > 0.9
    with pytest.raises(BlindlensError, match="go with --background-rms"):
        Observation.from_fits(path, gain=2)
    with pytest.raises(BlindlensError, match="not both"):
        Observation.from_fits(path, noise=path, background_rms=1)


def test_noise_of_the_wrong_kind_is_remarked(tmp_path):
    rng = np.random.default_rng(0)
    image = 0.01 * rng.normal(size=(60, 60))
    parts = {"SCI": image, "WHT": np.full((60, 60), 1e4), "PSF": gaussian((7, 7))}
    assert Observation.from_fits(write(tmp_path / "a.fits", parts)).notes[1:] == ()
    parts["WHT"] = np.full((60, 60), 200.0)
    assert "times as much as" in Observation.from_fits(write(tmp_path / "b.fits", parts)).notes[-1]


def test_finer_psf(tmp_path, parts):
    parts["PSF"] = gaussian((45, 45), 3.6)
    observation = Observation.from_fits(write(tmp_path / "a.fits", parts), psf_oversampling=3)
    assert observation.psf.shape == (15, 15) and observation.psf.sum() == pytest.approx(1, abs=1e-12)
    assert moments(observation.psf)[2] == pytest.approx(1.2**2, rel=1e-3)


@pytest.mark.parametrize("packed", ["RICE_1", "GZIP_2"])
def test_fpacked_floats_with_missing_borders(tmp_path, parts, packed):
    rng = np.random.default_rng(3)
    image, noise = rng.normal(size=(64, 48)), rng.uniform(0.9, 1.1, size=(64, 48))
    image[:3], image[:, -2:] = np.nan, np.nan
    noise[10] = 1e16
    hdus = [fits.PrimaryHDU()]
    for name, data in (("SCI", image), ("NOISE", noise), ("PSF", parts["PSF"])):
        hdus.append(fits.CompImageHDU(data.astype(np.float32), name=name, compression_type=packed))
    hdus[1].header["PIXSCALE"] = 0.05
    fits.HDUList(hdus).writeto(tmp_path / "a.fits.fz")
    observation = Observation.from_fits(tmp_path / "a.fits.fz")
    good = np.isfinite(image) & (noise < 1e9)
    np.testing.assert_array_equal(observation.mask, good)
    np.testing.assert_allclose(
        observation.image[good], image[good], atol=0.1
    )  # floats are quantised to a fraction of the noise
    assert observation.psf[3, 2] == pytest.approx(parts["PSF"][3, 2], rel=0.05) and "masked" in observation.notes[-1]


def test_unsigned_integers_with_an_offset(tmp_path, parts):
    parts["SCI"] = np.arange(NY * NX, dtype=np.uint16).reshape(NY, NX) + 65000 - NY * NX
    parts["MASK"][:] = 1
    np.testing.assert_array_equal(
        Observation.from_fits(write(tmp_path / "a.fits", parts)).image, parts["SCI"].astype(float)
    )


def test_which_of_several_images(tmp_path, parts):
    path = write(tmp_path / "a.fits", parts)
    write(tmp_path / "many.fits", {"A": parts["NOISE"], "B": parts["SCI"]})
    chosen = Observation.from_fits(path, noise=tmp_path / "many.fits")
    assert "of 2 images in" in chosen.notes[0] and "first was read as the noise" in chosen.notes[0]
    write(tmp_path / "sci.fits", {"SCI": parts["NOISE"]})  # named by habit, but the only one
    np.testing.assert_array_equal(Observation.from_fits(path, noise=tmp_path / "sci.fits").noise, chosen.noise)
    write(tmp_path / "both.fits", {"SCI": parts["NOISE"], "DATA": parts["SCI"]})
    with pytest.raises(BlindlensError, match="holds no two-dimensional noise"):
        Observation.from_fits(path, noise=tmp_path / "both.fits")


def placed() -> Observation:
    image = np.zeros((21, 30))
    image[6, 20] = 5.0
    header = {"CRPIX1": 21.0, "CRPIX2": 7.0}
    return Observation(image, np.ones((21, 30)), np.ones((3, 3)), pixel_scale=0.5, header=header)


@pytest.mark.parametrize(
    ("centre", "size", "shape", "middle"),
    [
        ((21, 7), None, (13, 19), (0, 0)),
        ((21.2, 6.9), None, (13, 19), (0, 0)),
        ((20.5, 6.5), None, (12, 20), (0.25, 0.25)),
        ((21, 7), 15, (31, 31), (0, 0)),
        ((1, 21), 4, (9, 9), None),
    ],
)
def test_the_lens_is_brought_to_the_middle(centre, size, shape, middle):
    part = placed().centred_on(*centre, size)
    assert part.shape == shape and "are used" in part.notes[-1]
    x, y = part.coordinates()
    if middle is None:  # the corner: a quarter of the part holds data
        assert part.n_used == 25 and part.mask[:5, 4:].all() and (part.noise[~part.mask] == 1).all()
        return
    bright = np.unravel_index(part.image.argmax(), shape)
    assert (x[bright], y[bright]) == pytest.approx(middle)
    assert (part.header["CRPIX1"], part.header["CRPIX2"]) == (bright[1] + 1, bright[0] + 1)
    assert (part.n_used == part.mask.size) == (size is None)


def test_centres_that_cannot_be():
    for arguments, words in (((31, 5), "outside the image of 30 x 21"), ((0, 5), "outside"), ((1, 1), "larger size")):
        with pytest.raises(BlindlensError, match=words):
            placed().centred_on(*arguments)
