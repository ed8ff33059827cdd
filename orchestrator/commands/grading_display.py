"""Shows in a terminal how far a run is graded again, and a judge that starts."""

from __future__ import annotations

import time

from rich.text import Text

from orchestrator.commands.display import Display
from orchestrator.errors import counted


class GradingDisplay(Display):
    """Follows a run that is graded again: one line that is rewritten, or lines where there is no terminal."""

    def grading(self, problems: int, judged: int) -> None:
        self.stop()
        self._problems, self._done, self._said = problems, 0, time.monotonic()
        known = f"; {counted(judged, 'verdict')} of the judge known from before" if judged else ""
        self._print(f"grading {counted(problems, 'problem')}{known}")
        if self.console.is_terminal:
            self._show(_Graded(self))

    def graded(self) -> None:
        self._done += 1
        now = time.monotonic()
        if self._live is None and now - self._said >= self.every:
            self._said = now
            self._print(self.so_far)

    @property
    def so_far(self) -> str:
        """How far it is."""
        return f"{self._done} of {counted(self._problems, 'problem')} graded"


class _Graded:
    """How far it is; rendered anew at each refresh."""

    def __init__(self, display: GradingDisplay) -> None:
        self._display = display

    def __rich__(self) -> Text:
        return Text(self._display.so_far)
