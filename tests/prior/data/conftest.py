"""A folder as users download it from the TNG site."""

import pytest
from tng_files import gaussian, idealized


@pytest.fixture
def tng(tmp_path):
    """A folder of four idealized images: two views and two snapshots of subhalo 7, one view of 12."""
    for name in ("072-7_v0", "072-7_v1", "091-7_v0", "072-12_v3"):
        idealized(tmp_path / "tng" / name[:3] / f"shalo_{name}_photo.fits", 5 * gaussian((96, 96), 8.0))
    return tmp_path / "tng"
