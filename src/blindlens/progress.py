"""What a waiting user sees: one bar per stage with the time left and the current chi2, or plain lines in a log file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Bar:
    """A stage under way. `done` of `total`; `figures` are the latest numbers worth watching, such as chi2."""

    def __init__(self, name: str, total: int, bars: Bars | None):
        self.name, self.total, self.done = name, total, 0
        self.figures: dict[str, float] = {}
        self._bars = bars
        self._task = bars.add_task(name, total=total, figures="") if bars else None

    def advance(self, n: int = 1, **figures: float) -> None:
        """n more units are done; figures, e.g. chi2=1.03, replace the ones shown."""
        self.done += n
        self.figures.update(figures)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=n, figures=self.words())

    def words(self) -> str:
        """The figures as text, "chi2 1.03"."""
        return "  ".join(f"{name} {value:.3g}" for name, value in self.figures.items())


class Progress:
    """Stages of a run, shown on `console`; without one nothing is shown. `times`: seconds per stage."""

    def __init__(self, console: Console | None = None):
        self.console, self.times = console, dict[str, float]()

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Bar]:
        """A stage of `total` units; a repeated name adds to its time."""
        start = time.perf_counter()
        try:
            if self.console is None:
                yield Bar(name, total, None)
            elif self.console.is_terminal:
                with Bars(*_columns(), console=self.console) as bars:
                    yield Bar(name, total, bars)
            else:
                self.console.print(f"{name}: started")
                bar = Bar(name, total, None)
                yield bar
                seconds = time.perf_counter() - start
                self.console.print(f"{name}: done in {seconds:.1f} s  {bar.words()}".rstrip())
        finally:
            self.times[name] = self.times.get(name, 0.0) + time.perf_counter() - start

    def say(self, words: str) -> None:
        """One line for the user."""
        if self.console is not None:
            self.console.print(words, markup=False, highlight=False)


def _columns() -> tuple:
    return (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
