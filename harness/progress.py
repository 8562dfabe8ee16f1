"""What a person sees of a run while it happens: bars on a terminal, one line per phase anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

_WIDTH = 8


@contextmanager
def follow(title: str, stream: TextIO) -> Iterator[Bars | Lines]:
    """Shows the phases of one run on `stream`; the title first."""
    print(title, file=stream, flush=True)
    view: Bars | Lines = Bars(stream) if stream.isatty() else Lines(stream)
    try:
        yield view
    finally:
        view.close()


class Lines:
    """One line per phase, written when the phase is over: its name, how long it took, and what was seen last."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name, self._text, self._since = "", "", 0.0

    def phase(self, name: str) -> None:
        """The phase before is over, and this one begins."""
        self.close()
        self._name, self._text, self._since = name, "", time.monotonic()

    def progress(self, done: float, text: str) -> None:
        """Keeps the text for the end of the phase."""
        self._text = text

    def close(self) -> None:
        """The last phase is over."""
        if self._name:
            seconds = time.monotonic() - self._since
            line = f"  {self._name:<{_WIDTH}} {seconds:5.1f} s  {self._text}"
            print(line.rstrip(), file=self._stream, flush=True)
            self._name = ""


class Bars:
    """One bar per phase, with what is seen at the moment."""

    def __init__(self, stream: TextIO) -> None:
        columns = (
            TextColumn(
                f"  {{task.description:<{_WIDTH}}}", table_column=Column(no_wrap=True, min_width=_WIDTH + 2)
            ),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[seen]}"),
        )
        self._progress = Progress(
            *columns, console=Console(file=stream), redirect_stdout=False, redirect_stderr=False
        )
        self._progress.start()
        self._task: TaskID | None = None

    def phase(self, name: str) -> None:
        """The bar of the phase before is filled, and a new one begins."""
        self._fill()
        self._task = self._progress.add_task(name, total=1.0, seen="")

    def progress(self, done: float, text: str) -> None:
        """Moves the bar to the fraction `done`."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, seen=escape(text))

    def close(self) -> None:
        """The last bar is filled; nothing moves any more."""
        self._fill()
        self._progress.stop()

    def _fill(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=1.0)
            self._progress.stop_task(self._task)
            self._task = None
