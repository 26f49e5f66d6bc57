"""Position angles: known WCS by hand, turned and mirrored images, the sky of a binned and cropped image."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from blindlens.errors import BlindlensError
from blindlens.observation import Observation
from blindlens.sky import Sky

SCALE = 0.05 / 3600


def cards(matrix=((-1, 0), (0, 1)), dec=40.0, centre=(50.5, 40.5), **more):
    cd = {f"CD{i + 1}_{j + 1}": SCALE * matrix[i][j] for i in range(2) for j in range(2)}
    base = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": dec}
    return base | {"CRPIX1": centre[0], "CRPIX2": centre[1], "CUNIT1": "deg", "CUNIT2": "deg"} | cd | more


def same(a, b, fold, tolerance):
    """Whether two angles in degrees are the same orientation."""
    return np.all(np.abs(np.exp(1j * fold * np.radians(a)) - np.exp(1j * fold * np.radians(b))) < tolerance)


def turned(angle):
    """North at `angle` degrees from +y towards -x, east 90 degrees further."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return ((-c, -s), (-s, c))


def test_north_up_east_left():
    """+y is 0, -x is 90, half-way between 45."""
    for sky in (Sky.north_up(), Sky.from_wcs(cards(), (80, 100))):
        for phi, expected in [(np.pi, 90), (0.0, 90), (3 * np.pi / 4, 45), (np.pi / 4, 135)]:
            assert sky.position_angle(phi) == pytest.approx(expected, abs=1e-4)
        assert np.cos(2 * np.radians(sky.position_angle(np.pi / 2))) == pytest.approx(1)
    np.testing.assert_allclose(sky.centre, (150, 40), atol=1e-9)


@pytest.mark.parametrize("angle", [0, 31, 90, 180, 270])
def test_an_image_turned_against_the_sky(angle):
    sky = Sky.from_wcs(cards(turned(angle)), (80, 100))
    phi = np.linspace(0, np.pi, 7, endpoint=False)
    expected = (np.degrees(phi) - 90 - angle) % 180
    assert same(sky.position_angle(phi), expected, 2, 1e-5)


def test_against_astropy_far_from_the_reference_point():
    """A cutout whose reference pixel is 3 degrees away, near the pole, where north is not what the matrix says."""
    header = cards(turned(20), dec=80.0, centre=(50.5 + 3 / SCALE, 40.5))
    wcs, sky = WCS(fits.Header(header)), Sky.from_wcs(header, (80, 100))
    for phi in (0.3, 1.2, 2.8):
        a = wcs.pixel_to_world(49.5, 39.5)
        b = wcs.pixel_to_world(49.5 + 5 * np.cos(phi), 39.5 + 5 * np.sin(phi))
        assert sky.position_angle(phi, 1) == pytest.approx(a.position_angle(b).deg, abs=1e-3)
    naive = Sky.from_wcs(cards(turned(20), dec=80.0), (80, 100))
    assert abs(sky.position_angle(0.3) - naive.position_angle(0.3)) > 5  # the control


@pytest.mark.parametrize("fold", [2, 3, 4])
def test_the_same_sky_answer_whichever_way_the_pixels_lie(fold):
    """Quarter turns and mirror images of pixels and WCS together: the direction of a bright line keeps its angle."""
    rng = np.random.default_rng(fold)
    for _ in range(5):
        start, phi = np.array(turned(rng.uniform(0, 360))), rng.uniform(0, 2 * np.pi)
        reference = Sky.from_wcs(cards(start), (80, 100)).position_angle(phi, fold)
        direction = np.array([np.cos(phi), np.sin(phi)])
        for quarter in range(4):
            for mirror in (1, -1):
                c, s = np.round([np.cos(quarter * np.pi / 2), np.sin(quarter * np.pi / 2)])
                move = np.array([[c, -s], [s, c]]) @ np.diag([mirror, 1])
                there = move @ direction
                sky = Sky.from_wcs(cards(start @ move.T), (80, 80))
                seen = sky.position_angle(np.arctan2(there[1], there[0]), fold)
                assert same(seen, reference, fold, 1e-4)
                if quarter % 2 and fold != 4:  # the control: the direction alone, under the first WCS
                    wrong = Sky.from_wcs(cards(start), (80, 100)).position_angle(np.arctan2(there[1], there[0]), fold)
                    assert not same(wrong, reference, fold, 1e-3)


def test_other_ways_to_write_it():
    plain = Sky.from_wcs(cards(turned(25)), (80, 100))
    old = {k: v for k, v in cards().items() if not k.startswith("CD")}
    rotated = old | {"CDELT1": -SCALE, "CDELT2": SCALE, "CROTA2": 25.0}
    c, s = np.cos(np.radians(25)), np.sin(np.radians(25))
    pc = old | {"CDELT1": -SCALE, "CDELT2": SCALE, "PC1_1": c, "PC1_2": s, "PC2_1": -s, "PC2_2": c}
    sip = cards(turned(25)) | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    cube = cards(turned(25)) | {"CTYPE3": "WAVE", "CRPIX3": 1.0, "CD3_3": 1.0}
    for header in (rotated, pc, sip, cube):
        np.testing.assert_allclose(Sky.from_wcs(header, (80, 100)).axes, plain.axes, atol=1e-4)
    here = SkyCoord(150, 40, unit="deg").galactic
    galactic = cards() | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": here.l.deg, "CRVAL2": here.b.deg}
    up = here.directional_offset_by(0 * units.deg, 1 * units.arcsec)
    expected = SkyCoord(150, 40, unit="deg").position_angle(up.icrs).deg
    assert Sky.from_wcs(galactic, (80, 100)).position_angle(np.pi / 2, 1) == pytest.approx(expected, abs=0.01)


def test_no_wcs_and_a_bad_one():
    assert Sky.from_wcs({}, (10, 10)) is None
    assert Sky.from_wcs({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CRPIX1": 1.0}, (10, 10)) is None
    for bad in (cards(((0, 0), (0, 0))), cards() | {"CTYPE2": "RA---TAN"}):
        with pytest.raises(BlindlensError, match="WCS cannot be used"):
            Sky.from_wcs(bad, (80, 100))


@pytest.mark.parametrize("steps", ["CD", "CDELT"])
def test_binning_and_cropping_keep_the_sky(steps):
    header = cards(turned(40), centre=(17.0, 81.0))
    if steps == "CDELT":
        header = {k: v for k, v in header.items() if not k.startswith("CD")} | {"CDELT1": -SCALE, "CDELT2": SCALE}
    whole = Observation(np.ones((62, 50)), np.ones((62, 50)), np.ones((3, 3)), pixel_scale=0.05, header=header)
    expected = Sky.from_wcs(whole.header, whole.shape)
    for part in (whole.cropped((40, 30)), whole.binned(4), whole.binned(2).cropped((21, 15))):
        sky = Sky.from_wcs(part.header, part.shape)
        np.testing.assert_allclose(sky.axes, expected.axes, atol=1e-5)
        np.testing.assert_allclose(sky.centre, expected.centre, atol=1e-9)
    centre = WCS(fits.Header(whole.binned(4).header))
    scale = np.sqrt(abs(np.linalg.det(centre.pixel_scale_matrix))) * 3600
    assert scale == pytest.approx(0.2)
