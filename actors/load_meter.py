"""What an engine held between two reports: written step by step by its thread, read by another."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from actors.messages import Load


@dataclass(slots=True)
class LoadMeter:
    """Makes ``Load``s. What a step finished ran in it, although the scheduler holds it no longer: without
    that an engine whose requests end together would seem to have run nothing."""

    _load: Load = field(default_factory=lambda: Load(0, 0, 0.0, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stepped(
        self, *, running: int, finished: int, waiting: int, kv_usage: float, preemptions: int
    ) -> None:
        """After a step: requests that run on, that it finished, and that wait; the share of the cache in use;
        preemptions since the start."""
        with self._lock:
            last = self._load
            self._load = Load(
                max(last.running, running + finished), waiting, max(last.kv_usage, kv_usage), preemptions
            )

    def report(self) -> Load:
        """Since the report before this one."""
        with self._lock:
            load = self._load
            self._load = Load(0, load.waiting, 0.0, load.preemptions)
        return load
