"""Files are whole or not there, also when the disk fills up."""

import resource
import signal

import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.storage import atomic_write, load_arrays, save_arrays, write_text


@pytest.fixture
def small_disk():
    """No file may grow beyond 50 kB: the kernel's own refusal, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


def test_arrays_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "f": rng.normal(size=(3, 4)),
        "g": rng.normal(size=5).astype(np.float32),
        "i": np.arange(4, dtype=np.uint32),
        "b": np.array([True, False]),
        "t": rng.normal(size=(4, 3)).T,
    }
    save_arrays(tmp_path / "deep" / "a.safetensors", arrays, {"n": 3, "words": ["é"]})
    back, header = load_arrays(tmp_path / "deep" / "a.safetensors")
    assert header == {"n": 3, "words": ["é"]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all", b"\x80\x04\x95pickle"])
def test_unreadable_arrays(tmp_path, content):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(BlindlensError):
        load_arrays(tmp_path / "a")


def test_truncated_arrays(tmp_path):
    save_arrays(tmp_path / "a", {"x": np.ones(1000)}, {})
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-10])
    with pytest.raises(BlindlensError, match="not a readable"):
        load_arrays(tmp_path / "a")


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, stop):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(stop), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("half of the new")
        raise stop
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, small_disk):
    write_text(tmp_path / "a", "old")
    with pytest.raises(BlindlensError, match="cannot write") as error:
        save_arrays(tmp_path / "a", {"x": np.ones(100_000)}, {})
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"
    save_arrays(tmp_path / "a", {"x": np.ones(100)}, {})  # the control: what fits is written
    assert load_arrays(tmp_path / "a")[0]["x"].size == 100


def test_a_full_disk_for_every_format(tmp_path, small_disk, posterior):
    from blindlens.observation import Observation

    big = Observation(np.ones((90, 90)), np.ones((90, 90)), np.ones((3, 3)), pixel_scale=0.1)
    for write in (lambda: posterior.save(tmp_path / "p.nc"), lambda: big.to_fits(tmp_path / "o.fits")):
        with pytest.raises(BlindlensError, match="cannot write"):
            write()
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(BlindlensError, match="cannot write"):
        write_text(tmp_path / "a" / "b", "x")
