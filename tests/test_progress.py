"""Progress: silent by default, plain lines in a file, bars on a terminal; times always."""

import io
import time

import pytest
from rich.console import Console

from blindlens.progress import Progress


def run(progress: Progress) -> None:
    with progress.stage("sample", 4) as bar:
        for k in range(4):
            time.sleep(0.01)
            bar.advance(chi2=1 + 0.1 * k)
    progress.say("done [not markup]")


@pytest.mark.parametrize("terminal", [None, False, True])
def test_stage(terminal):
    text = io.StringIO()
    console = None if terminal is None else Console(file=text, force_terminal=terminal, width=120)
    progress = Progress(console)
    run(progress)
    assert 0.04 <= progress.times["sample"] < 2
    words = text.getvalue()
    if terminal is None:
        assert words == ""
    else:
        assert "chi2 1.3" in words and "sample" in words and "done [not markup]" in words
    if terminal is False:
        assert len(words.splitlines()) == 3 and "\x1b" not in words


def test_times_add_up_and_survive_an_interrupt():
    progress = Progress()
    for _ in range(2):
        with progress.stage("a", 1):
            time.sleep(0.02)
    with pytest.raises(KeyboardInterrupt), progress.stage("b", 1):
        raise KeyboardInterrupt
    assert progress.times["a"] >= 0.04 and "b" in progress.times
