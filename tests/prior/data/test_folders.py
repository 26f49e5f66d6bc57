"""Folders of SKIRT-TNG files, FITS files and pictures: values, groups, and every way to be wrong."""

import numpy as np
import pytest
from astropy.io import fits
from tng_files import gaussian, idealized, realistic

from blindlens.errors import BlindlensError
from blindlens.prior.data import open_images
from blindlens.prior.data.stamps import stamp


@pytest.fixture
def tng(tmp_path):
    """A folder of four idealized images: two views and two snapshots of subhalo 7, one view of 12."""
    for name in ("072-7_v0", "072-7_v1", "091-7_v0", "072-12_v3"):
        idealized(tmp_path / "tng" / name[:3] / f"shalo_{name}_photo.fits", 5 * gaussian((96, 96), 8.0))
    return tmp_path / "tng"


def fits_file(path, data, **cards):
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


def test_idealized_magnitudes_become_flux(tng):
    images = open_images(str(tng), 16, field=6.4)
    assert (len(images), images.unit, images.n) == (4, "uJy/arcsec^2", 16)
    expected = stamp(5 * gaussian((96, 96), 8.0), 64, 16, "x")
    np.testing.assert_allclose(images.read(np.arange(4)), np.tile(expected, (4, 1, 1)), rtol=1e-5)
    other = open_images(str(tng), 16, field=6.4, band="subaru_hsc.g").read(np.array([1]))
    np.testing.assert_allclose(other, 3.631e9 * 10 ** (-0.4 * 20), rtol=1e-6)


def test_empty_pixels_and_sizes_that_vary(tmp_path):
    """The same galaxy in a larger image, on finer pixels and in one smaller than the field: 99 and beyond are 0."""
    for i, (size, kpc) in enumerate(((80, 0.1), (160, 0.05), (48, 0.1))):
        flux = gaussian((size, size), 0.4 / kpc)
        idealized(tmp_path / f"shalo_072-{i}_v0_photo.fits", np.where(flux > 1e-6, flux, 0), kpc=kpc)
    a, b, c = open_images(str(tmp_path), 32, field=6.4).read(np.arange(3))
    np.testing.assert_allclose(b, a, atol=2e-3)
    np.testing.assert_allclose(c[8:24, 8:24], a[8:24, 8:24], atol=1e-4)
    assert (a[:3, :3] == 0).all() and (c[:4] == 0).all()
    assert a.sum(dtype=float) * 0.2**2 == pytest.approx(2 * np.pi * 0.4**2, rel=1e-4)


def test_groups_are_subhalos_over_views_and_snapshots(tng):
    images = open_images(str(tng), 16, field=6.4)
    assert sorted(images.groups()) == ["TNG/12", "TNG/7", "TNG/7", "TNG/7"]
    assert images.groups()[[f.name.startswith("shalo_072-12") for f in images.files].index(True)] == "TNG/12"


def test_realistic_nanomaggies_become_flux(tmp_path):
    light = 3 * gaussian((80, 80), 5.0)
    realistic(tmp_path / "shalo_072-7_v0_HSC_GRIZY.fits", light, pc=300.0)
    images = open_images(str(tmp_path), 20, field=12.0)  # 40 pixels
    np.testing.assert_allclose(images.read(np.array([0]))[0], stamp(light, 40, 20, "") * 3.631 / 0.168**2, rtol=1e-5)
    assert images.groups().tolist() == ["TNG/7"]


def test_other_fits_files(tmp_path):
    """The layout of RealSim's SKIRT images: pc in CTYPE, AB mag/arcsec2, float64."""
    mu = 22 - 2.5 * np.log10(gaussian((64, 64), 6.0))
    fits_file(tmp_path / "a.fits", mu, BUNIT="AB mag/arcsec2", CTYPE1="pc", CDELT1=100.0)
    images = open_images(str(tmp_path), 16, field=3.2)
    assert images.unit == "uJy/arcsec^2"
    expected = stamp(3.631e9 * 10 ** (-0.4 * 22) * gaussian((64, 64), 6.0), 32, 16, "")
    np.testing.assert_allclose(images.read(np.array([0]))[0], expected, rtol=1e-5)


def test_fits_files_without_a_size(tmp_path):
    fits_file(tmp_path / "a.fits", np.pad(np.ones((32, 32)), ((0, 0), (8, 8))))
    images = open_images(str(tmp_path), 16)
    assert images.unit == "arbitrary" and (images.read(np.array([0])) == 1).all()
    assert open_images(str(tmp_path), 16, unit="e/s").unit == "e/s"
    with pytest.raises(BlindlensError, match="a.fits have no size in kpc: leave the field out"):
        open_images(str(tmp_path), 16, field=50.0)


def test_pictures_are_read_upright(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((16, 24), np.uint8)
    pixels[0, 12] = 200  # top row
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(np.stack([pixels, pixels, 0 * pixels], -1)).save(tmp_path / "b.tif")
    Image.fromarray(np.full((20, 20), 80, np.uint8)).save(tmp_path / "c.jpg")
    a, b, c = open_images(str(tmp_path), 16).read(np.arange(3))
    assert a[15, 8] == 200 and a.sum() == 200
    np.testing.assert_allclose(b, a * 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(c, 80, atol=1)


def test_refused_folders(tmp_path, tng):
    with pytest.raises(BlindlensError, match="neither a folder"):
        open_images(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BlindlensError, match="empty holds no images"):
        open_images(str(tmp_path / "empty"))
    with pytest.raises(BlindlensError, match=r"photo.fits has no band HST.I; it has CFHT_MEGACAM.U, SUBARU_HSC.G"):
        open_images(str(tng), band="HST.I")
    with pytest.raises(BlindlensError, match=r"photo.fits is in uJy/arcsec\^2, not nJy"):
        open_images(str(tng), unit="nJy")
    with pytest.raises(BlindlensError, match=r"photo.fits: the field is only 32 pixels wide; ask for n <= 32"):
        open_images(str(tng), 64, field=3.2).read(np.array([0]))
    with pytest.raises(BlindlensError, match="at least 8 pixels"):
        open_images(str(tng), 4)
    with pytest.raises(BlindlensError, match="positive number of kpc"):
        open_images(str(tng), field=-1.0)
    realistic(tng / "shalo_072-7_v0_HSC_GRIZY.fits", np.ones((8, 8)))
    with pytest.raises(BlindlensError, match="SKIRT-TNG idealized and SKIRT-TNG realistic"):
        open_images(str(tng))


@pytest.mark.parametrize(
    "change,words",
    [
        ({"flux": np.ones((40, 48))}, r"should hold a square image, not one of shape \(40, 48\)"),
        ({"data": np.full((96, 96), np.nan, np.float32)}, "pixels that are not finite"),
        ({"unit": "nanomaggies"}, "is in 'nanomaggies', where files of this name hold mag/arcsec"),
        ({"kpc": 0.0}, "no pixel size in CDELT1"),
    ],
)
def test_refused_files(tng, change, words):
    path = idealized(tng / "shalo_099-9_v0_photo.fits", **{"flux": np.ones((96, 96))} | change)
    images = open_images(str(tng), 16, field=6.4)
    last = np.array([images.files.index(path)])
    with pytest.raises(BlindlensError, match=f"{path}.*{words}"):
        images.read(last)


@pytest.mark.parametrize("keep", [0, 100, 3000, 70_000])
def test_damaged_files(tng, keep):
    path = idealized(tng / "shalo_099-9_v0_photo.fits", np.ones((96, 96)))
    path.write_bytes(path.read_bytes()[:keep])
    images = open_images(str(tng), 16, field=6.4)
    with pytest.raises(BlindlensError, match=f"{path}"):
        images.read(np.array([images.files.index(path)]))


def test_mixed_units(tmp_path):
    fits_file(tmp_path / "a.fits", np.ones((32, 32)), BUNIT="nJy")
    fits_file(tmp_path / "b.fits", np.ones((32, 32)), BUNIT="Jy")
    images = open_images(str(tmp_path), 16)
    assert images.unit == "nJy"
    with pytest.raises(BlindlensError, match=r"b.fits is in Jy .*a.fits in nJy .*folders of their own"):
        images.read(np.arange(2))


def test_a_renamed_tng_file_is_not_read_in_the_wrong_band(tmp_path):
    idealized(tmp_path / "galaxy.fits", np.ones((96, 96)))
    with pytest.raises(BlindlensError, match="galaxy.fits is a SKIRT-TNG file: name it as it came"):
        open_images(str(tmp_path), 16)


def test_a_broken_picture(tmp_path):
    pytest.importorskip("PIL.Image")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(BlindlensError, match="a.png is not a readable picture"):
        open_images(str(tmp_path), 16)


def test_numbers_out_of_range(tng):
    images = open_images(str(tng), 16, field=6.4)
    for numbers in ([4], [-1], [0.5]):
        with pytest.raises(BlindlensError, match="images"):
            images.read(np.array(numbers))
    assert images.read(np.array([], int)).shape == (0, 16, 16)
