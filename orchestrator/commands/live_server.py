"""Serves the page of a run that goes on, as ``python -m orchestrator.commands.live_server``.

It is apart from the run's own, so that nothing that is read or sent takes time from the searches, and it
gives way to whatever else wants a core. It is told on standard input, a line of JSON each, how far the start
of the engines is, which run begins and that the pages are written; where its input ends without that, the run
is gone. What goes wrong is on standard error.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from orchestrator.commands.explore import read_with
from orchestrator.config.loading import load_begun
from orchestrator.config.written import written
from orchestrator.durability.journal import JournalDamaged
from orchestrator.explore.live import LiveRun
from orchestrator.explore.server import GRACE_SECONDS, Begun, Feed, LiveServer
from orchestrator.report.explorer import PAGE

YIELDING = 10
"""The niceness: beside a process that wants the same core, this one has a tenth of it."""
UNUSED = ("torch", "sklearn")
"""What transformers imports beside a tokenizer if it is there: four of five seconds, and 300 MB."""
LAST_SECONDS = 1.0
"""Seconds in which readers are told that the run is gone."""


def main(listening: int, runs: str) -> None:
    """Serves on a socket that listens, by its number, until standard input ends."""
    # A module that is None counts as not installed.
    sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # else it says that there is no PyTorch
    import transformers.models.auto.tokenization_auto  # noqa: F401 - while engines start, too

    os.nice(YIELDING)

    def opened(begun: Begun) -> LiveRun:
        directory = Path(runs) / begun.run
        if not (directory / "config.yaml").is_file():
            raise JournalDamaged(f"{directory} has no run yet")
        config = load_begun(directory / "config.yaml", [f"runs={runs}"])
        codec, problems, notes = read_with(begun.run, config, questions=True)
        return LiveRun(directory, written(config), codec, problems, notes, begun.budget, begun.at)

    feed = Feed(opened)
    server = LiveServer(socket.socket(fileno=listening), feed, Path(runs), PAGE)
    for work in (server.serve_forever, feed.refresh_for_ever):
        threading.Thread(target=work, daemon=True).start()
    feed.end(heeded(sys.stdin, feed))
    feed.wait_for_readers(GRACE_SECONDS if feed.over == "finished" else LAST_SECONDS)


def heeded(lines: TextIO, feed: Feed) -> str:
    """Does what it is told. Returns what became of the run: ``finished``, or ``gone``."""
    for line in lines:
        told = json.loads(line)
        if "starting" in told:
            feed.starting(told["starting"])
        elif "run" in told:
            feed.begin(Begun(told["run"], told["budget"], time.time()))
        else:
            return "finished"
    return "gone"


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
