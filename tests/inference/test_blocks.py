"""Unfinished runs go on only where they can."""

import numpy as np
import pytest

from blindlens.errors import BlindlensError
from blindlens.inference.blocks import resumed
from blindlens.inference.stages import Store


def test_a_run_goes_on_unless_its_chains_are_others_or_a_part_is_gone(tmp_path):
    store, state = Store(tmp_path, "mark"), (np.arange(3.0), np.ones((2, 2)))
    assert resumed(store, state) == (state, [], 0.0)
    store.write("block0", {"eta": np.zeros(4)})
    store.write("chains", {"leaf0": state[0] + 1, "leaf1": state[1]}, blocks=1, seconds=7.0)
    (first, _), traces, seconds = resumed(store, state)
    np.testing.assert_array_equal(first, state[0] + 1)
    assert len(traces) == 1 and seconds == 7.0
    for other in ((*state, np.zeros(1)), state[:1], (state[0], np.ones((3, 2)))):
        with pytest.raises(BlindlensError, match="of another blindlens; remove that folder"):
            resumed(store, other)
    (tmp_path / "block0.stage").unlink()
    with pytest.raises(BlindlensError, match="is missing; remove that folder"):
        resumed(store, state)
