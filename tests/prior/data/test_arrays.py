"""Images in one array: the same values from every format, piecewise, and every way to be wrong."""

import json

import h5py
import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.prior.data import open_images

STACK = np.random.default_rng(1).random((20, 16, 16)).astype(np.float32)
GROUPS = np.array([f"galaxy {i // 3}" for i in range(20)])


def npy(folder):
    np.save(folder / "set.npy", STACK)
    (folder / "set.json").write_text(json.dumps({"unit": "nJy", "groups": GROUPS.tolist()}))
    return folder / "set.npy"


def npz(folder):
    np.savez_compressed(folder / "set.npz", images=STACK, groups=GROUPS, unit="nJy", numbers=np.arange(20))
    return folder / "set.npz"


def hdf5(folder):
    with h5py.File(folder / "set.h5", "w") as file:
        file.create_dataset("deep/images", data=STACK).attrs["unit"] = "nJy"
        file["groups"] = GROUPS.astype("S")
    return folder / "set.h5"


def zarr(folder):
    root = pytest.importorskip("zarr").open_group(folder / "set.zarr", mode="w")
    root.create_array("images", data=STACK, chunks=(4, 16, 16)).attrs["unit"] = "nJy"
    root.attrs["groups"] = "beside, as an array"
    root.create_array("groups", data=np.array([int(g.split()[1]) for g in GROUPS]))
    return folder / "set.zarr"


@pytest.mark.parametrize("make", [npy, npz, hdf5, zarr])
def test_every_format_gives_the_same(tmp_path, make):
    images = open_images(str(make(tmp_path)), 16)
    assert (len(images), images.unit, images.n) == (20, "nJy", 16)
    numbers = np.array([7, 3, 19, 3, 0])
    np.testing.assert_array_equal(images.read(numbers), STACK[numbers])
    groups = images.groups()
    assert len(np.unique(groups)) == 7 and (groups[:3] == groups[0]).all() and groups[3] != groups[0]
    with pytest.raises(BlindlensError, match="set.* is in nJy, not Jy"):
        open_images(str(make(tmp_path / "x") if (tmp_path / "x").mkdir() else images.path), 16, unit="Jy")


def test_large_images_are_averaged(tmp_path):
    np.save(tmp_path / "a.npy", np.pad(STACK, ((0, 0), (4, 4), (0, 0))))
    images = open_images(str(tmp_path / "a.npy"), 8)
    expected = STACK[:2].reshape(2, 8, 2, 8, 2).mean((2, 4))
    np.testing.assert_allclose(images.read(np.arange(2)), expected, rtol=1e-6)
    assert images.unit == "arbitrary" and len(set(images.groups())) == 20


def test_half_precision_is_read_as_single(tmp_path):
    np.savez(tmp_path / "a.npz", STACK.astype(np.float16))
    assert open_images(str(tmp_path / "a.npz"), 16).read(np.array([3])).dtype == np.float32


def test_arrays_are_chosen_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", train=STACK, test=STACK[:5], names=GROUPS)
    assert len(open_images(f"{tmp_path}/a.npz:test", 16)) == 5
    with pytest.raises(BlindlensError, match=r"several image arrays: give one of .*a.npz:train, .*a.npz:test"):
        open_images(f"{tmp_path}/a.npz", 16)
    with pytest.raises(BlindlensError, match="no array 'valid'; it has train, test, names"):
        open_images(f"{tmp_path}/a.npz:valid", 16)


def test_refused_arrays(tmp_path):
    def refused(name, array, words, n=16):
        np.save(tmp_path / name, array)
        with pytest.raises(BlindlensError, match=words):
            open_images(str(tmp_path / name), n).read(np.arange(2))

    refused("colour.npy", STACK[..., None], r"colour.npy has the shape \(20, 16, 16, 1\)")
    refused("small.npy", STACK, r"small.npy has the shape .* of at least 32 pixels", n=32)
    bad = STACK.copy()
    bad[1, 3, 3] = np.inf
    refused("bad.npy", bad, "image 1 of .*bad.npy has pixels that are not finite")
    np.savez(tmp_path / "flat.npz", a=STACK[0])
    with pytest.raises(BlindlensError, match=r"flat.npz holds no array \(count, height, width\); it has a"):
        open_images(str(tmp_path / "flat.npz"))
    with pytest.raises(BlindlensError, match="there is no file .*none.h5"):
        open_images(str(tmp_path / "none.h5"))
    for name in ("a.npy", "a.npz", "a.h5"):
        (tmp_path / name).write_bytes(b"not what it says")
        with pytest.raises(BlindlensError, match=f"{name} is not a readable"):
            open_images(str(tmp_path / name))
    with pytest.raises(BlindlensError, match="have no size in kpc"):
        open_images(str(npz(tmp_path)), field=50.0)
    np.savez(tmp_path / "g.npz", images=STACK, groups=GROUPS[:4])
    with pytest.raises(BlindlensError, match="g.npz has 4 groups for 20 images"):
        open_images(str(tmp_path / "g.npz"), 16).groups()


def test_zarr_is_optional(tmp_path, monkeypatch):
    (tmp_path / "a.zarr").mkdir()
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(BlindlensError, match="a.zarr needs zarr: pip install"):
        open_images(str(tmp_path / "a.zarr"))
