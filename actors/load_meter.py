"""Sums up an engine's load between two reports: its thread writes each step, another reads the report."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from actors.messages import Load


@dataclass(slots=True)
class LoadMeter:
    """Makes the ``Load`` of each report.

    A request that a step finished ran in that step, although the scheduler holds it no longer. Without it an
    engine whose requests end together would seem to have run nothing.
    """

    _load: Load = field(default_factory=lambda: Load(0, 0, 0.0, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stepped(
        self, *, running: int, finished: int, waiting: int, kv_usage: float, preemptions: int
    ) -> None:
        """Adds an engine step.

        Args:
            running: requests that run on after the step.
            finished: requests that the step finished.
            waiting: requests that wait in the engine.
            kv_usage: the share of the KV cache in use, in [0, 1].
            preemptions: preemptions since the engine's start.
        """
        with self._lock:
            last = self._load
            self._load = Load(
                max(last.running, running + finished), waiting, max(last.kv_usage, kv_usage), preemptions
            )

    def report(self) -> Load:
        """Returns the load since the last report."""
        with self._lock:
            load = self._load
            self._load = Load(0, load.waiting, 0.0, load.preemptions)
        return load
