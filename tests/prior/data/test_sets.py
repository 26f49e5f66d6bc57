"""Splitting, normalising, mixing and preparing, and the procedural source."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from scipy.stats import binom

from blindlens.errors import BlindlensError
from blindlens.prior.data import (
    Images,
    Mixture,
    Normalisation,
    largest_distance,
    normalisation,
    open_images,
    prepared,
    split,
)
from blindlens.prior.galaxies import galaxies


class Made(Images):
    """Image i is i + 1 throughout, plus given pixels; `broken` cannot be read; `slow` seconds an image."""

    def __init__(self, count, n=8, unit="u", name="made", groups=None, add=0.0, broken=(), slow=0.0):
        self.count, self.n, self.unit, self.name = count, n, unit, name
        self.labels = groups if groups is not None else [f"{name}/{i}" for i in range(count)]
        self.add, self.broken, self.slow, self.seen = add, broken, slow, 0

    def __len__(self):
        return self.count

    def read(self, numbers):
        if set(self.broken) & set(numbers.tolist()):
            raise BlindlensError("broken")
        time.sleep(self.slow * len(numbers))
        self.seen += len(numbers)
        return (numbers[:, None, None] + 1 + np.zeros((self.n, self.n)) + self.add).astype(np.float32)

    def groups(self):
        return np.array(self.labels)

    def identity(self):
        return {"kind": "made", "name": self.name, "count": self.count}


# --- split


def test_no_group_is_split_and_the_share_is_met():
    groups = [f"g{i // 5}" for i in range(20_000)]
    train, validate = split(Made(20_000, groups=groups), 0.07)
    assert sorted([*train, *validate]) == list(range(20_000))
    labels = np.array(groups)
    assert not set(labels[train]) & set(labels[validate])
    by_image, drawn = labels.copy(), np.random.default_rng(0).random(20_000) < 0.07
    assert set(by_image[drawn]) & set(by_image[~drawn])  # the control: drawing images splits galaxies
    assert binom.ppf(1e-3, 4000, 0.07) <= len(validate) / 5 <= binom.ppf(1 - 1e-3, 4000, 0.07)


def test_added_images_move_no_others_and_order_does_not_matter():
    groups = np.array([f"g{i // 3}" for i in range(900)])
    shuffled = np.random.default_rng(0).permutation([*groups, *(f"new{i}" for i in range(500))])
    before = {groups[i] for i in split(Made(900, groups=groups))[1]}
    after = {shuffled[i] for i in split(Made(1400, groups=shuffled))[1]}
    assert before == {g for g in after if g.startswith("g")} and len(after) > len(before)
    assert before != {groups[i] for i in split(Made(900, groups=groups), seed=1)[1]}


def test_a_larger_share_keeps_the_smaller_one():
    images = Made(1000)
    assert set(split(images, 0.05)[1]) < set(split(images, 0.2)[1])
    assert split(images, 0.0)[1].size == 0


def test_refused_splits():
    with pytest.raises(BlindlensError, match=r"must be in \[0, 1\), not 1.5"):
        split(Made(10), 1.5)
    with pytest.raises(BlindlensError, match="leaves no image for validation .*2 images of 1 different galaxies"):
        split(Made(2, groups=["a", "a"]), 1e-6)
    with pytest.raises(BlindlensError, match="leaves no image for training"):
        split(Made(2), 0.9999999)


# --- normalisation


def test_normalisation_are_quantiles_of_the_pixels():
    images = Made(1001)
    scale, offset = normalisation(images)
    assert (scale, offset) == pytest.approx((981, 501), abs=1e-3)
    assert normalisation(images, numbers=np.arange(101)) == pytest.approx((99, 51))
    sampled = normalisation(images, sample=300)
    assert sampled.scale == pytest.approx(981, abs=40) and sampled != (scale, offset)
    with pytest.raises(BlindlensError, match="nothing to learn"):
        normalisation(Made(1))


def test_largest_distance():
    """|x_i - x_j| = n |i - j| / C: pairs of 200 numbers, whose differences have a triangular distribution."""
    images = Made(200, n=8)
    expected = 8 * 200 * (1 - np.sqrt(0.05)) / 4.0
    assert largest_distance(images, Normalisation(4.0, 7.0)) == pytest.approx(expected, rel=0.01)
    assert largest_distance(images, Normalisation(4.0, 7.0), 0.5) < 0.5 * expected
    assert largest_distance(images, Normalisation(4.0, 0.0), pairs=3000) == pytest.approx(expected, rel=0.1)
    with pytest.raises(BlindlensError, match="need two"):
        largest_distance(Made(1), Normalisation(1.0, 0.0))


# --- mixture


def test_shares_are_met_and_every_image_occurs():
    a, b = Made(100, name="a"), Made(30, name="b", add=1000)
    mixture = Mixture([a, b], (1, 1))
    values = mixture.read(np.arange(len(mixture)))[:, 0, 0]
    assert len(mixture) == 200 and (values > 1000).sum() == 100
    counts = np.unique(values[values > 1000], return_counts=True)[1]
    assert len(counts) == 30 and set(counts) == {3, 4}
    assert len(Mixture([a, b])) == 130
    backwards = np.array([199, 0, 150, 3])
    np.testing.assert_array_equal(mixture.read(backwards)[:, 0, 0], values[backwards])


def test_a_mixture_splits_as_its_parts_do():
    a, b = Made(300, name="a"), Made(40, name="b")
    mixture = Mixture([a, b], (1, 2))
    kept = set(mixture.groups()[split(mixture)[1]])
    alone = {part.groups()[i] for part in (a, b) for i in split(part)[1]}
    assert kept == alone
    assert not kept & set(mixture.groups()[split(mixture)[0]])


def test_units_are_brought_together():
    a, b = Made(50, name="a"), Made(50, name="b", unit="v")
    with pytest.raises(BlindlensError, match="b is in v, the mixture in u: give a factor"):
        Mixture([a, b])
    mixture = Mixture([a, b], factors=(1.0, 0.25))
    assert mixture.read(np.array([99]))[0, 0, 0] == 50 * 0.25 and mixture.unit == "u"
    tenth = Made(50, name="c", unit="v", add=-0.5)
    tenth.read = lambda numbers: Made(50).read(numbers) / 10
    assert Mixture([a, tenth], factors="match").factors == pytest.approx((1, 10))


@pytest.mark.parametrize(
    "parts,settings,words",
    [
        ([], {}, "at least one set"),
        ([Made(5), Made(5, n=16)], {}, "made has 16 pixels a side, made 8"),
        ([Made(5), Made(5)], {"shares": (1, 0)}, "positive shares"),
        ([Made(5), Made(5)], {"shares": (1,)}, "a mixture of 2 sets needs as many positive shares"),
        ([Made(5), Made(5)], {"factors": (1, -1)}, "positive factors"),
        ([Made(5), Made(5)], {"factors": "same"}, "'match', not 'same'"),
    ],
)
def test_refused_mixtures(parts, settings, words):
    with pytest.raises(BlindlensError, match=words):
        Mixture(parts, **settings)


# --- prepared


def test_a_copy_is_the_same_and_is_reused(tmp_path):
    images = Made(700)
    copy = prepared(images, tmp_path)
    np.testing.assert_array_equal(copy.read(np.arange(700)), Made(700).read(np.arange(700)))
    assert (copy.unit, copy.name, copy.n) == ("u", "made", 8) and (copy.groups() == images.groups()).all()
    again = Made(700)
    prepared(again, tmp_path)
    assert again.seen == 2  # a look at both ends
    other = Made(701)
    assert len(prepared(other, tmp_path)) == 701 and other.seen == 701
    changed = Made(700, add=0.5)  # says that it is the same, and is not
    assert prepared(changed, tmp_path).read(np.array([5]))[0, 0, 0] == 6.5
    assert not list(tmp_path.glob("*.part"))


def test_an_interrupted_copy_goes_on(tmp_path):
    with pytest.raises(BlindlensError, match="broken"):
        prepared(Made(1000, broken=(600,)), tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    (part,) = tmp_path.glob("*.part")
    with open(part, "ab") as file:
        file.write(b"torn")
    images = Made(1000)
    copy = prepared(images, tmp_path)
    assert images.seen == 1000 - 512
    np.testing.assert_array_equal(copy.read(np.arange(1000)), Made(1000).read(np.arange(1000)))


def test_killed_and_raced(tmp_path):
    """kill -9 in the middle, then two processes at once: one whole copy with the right values."""
    spawn = multiprocessing.get_context("spawn")  # JAX has threads

    def start():
        process = spawn.Process(target=prepared, args=(Made(1500, slow=2e-4), tmp_path))
        process.start()
        return process

    process = start()
    while not any(p.stat().st_size > 256 * 256 for p in tmp_path.glob("*.part")):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(tmp_path.glob("*.npy"))
    process = start()
    prepared(Made(1500, slow=2e-4), tmp_path)
    process.join()
    assert process.exitcode == 0
    (file,) = tmp_path.glob("*.npy")
    np.testing.assert_array_equal(np.load(file), Made(1500).read(np.arange(1500)))


def test_parts_of_a_mixture_are_copied_once_each(tmp_path):
    mixture = Mixture([Made(50, name="a"), Made(5, name="b", unit="v")], (1, 1), (1.0, 3.0))
    copy = prepared(mixture, tmp_path)
    assert isinstance(copy, Mixture) and copy.factors == (1.0, 3.0)
    assert sum(len(np.load(file, mmap_mode="r")) for file in tmp_path.glob("*.npy")) == 55
    np.testing.assert_array_equal(copy.read(np.arange(100)), mixture.read(np.arange(100)))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BlindlensError, match="cannot write .*choose another folder"):
        prepared(Made(5), tmp_path / "file")


# --- procedural


def test_procedural_galaxies_are_the_generators_own():
    images = open_images("procedural:100:7", 16)
    numbers = np.array([40, 3, 99, 41])
    expected = galaxies(7, 100, 16)
    np.testing.assert_array_equal(images.read(numbers), expected[numbers])
    assert (len(images), images.unit) == (100, "procedural") and len(set(images.groups())) == 100
    assert len(open_images("procedural")) == 65536
    wide = open_images("procedural:5:7", 16, field=100.0).read(np.arange(5))
    assert not np.allclose(wide, expected[:5])


@pytest.mark.parametrize(
    "source", ["procedural:", "procedural:x", "procedural:0", "procedural:5:-1", "procedural:1:2:3"]
)
def test_refused_procedural(source):
    with pytest.raises(BlindlensError, match="procedural"):
        open_images(source)


def test_procedural_has_its_own_unit():
    with pytest.raises(BlindlensError, match="their own unit"):
        open_images("procedural:5", unit="Jy")
