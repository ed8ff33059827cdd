"""What a run leaves behind is found: each kind of it, and nothing that belongs to somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.leftovers import SHARED_MEMORY, Footprint, Left, socket_files

LEAVES = """
import mmap, os, pathlib, socket, sys, time
segment, where = sys.argv[1], sys.argv[2]
file = os.open(segment, os.O_CREAT | os.O_RDWR)
os.ftruncate(file, 4096)
held = mmap.mmap(file, 4096)
listening = socket.socket(socket.AF_UNIX)
listening.bind(where + "/sock")
listening.listen()
print("there", flush=True)
time.sleep(600)
"""


@pytest.fixture
def process() -> Iterator[tuple[Footprint, subprocess.Popen[str], str]]:
    """A process of a run that has a segment and a socket, and another run's footprint."""
    footprint = Footprint()
    segment = SHARED_MEMORY / f"ttc-test-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVES, str(segment), str(footprint.directory)],
        env={**os.environ, **footprint.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield footprint, process, segment.name
    finally:
        process.kill()
        process.wait()
        segment.unlink(missing_ok=True)
        footprint.remove()
    assert not footprint.directory.exists()


def test_what_is_in_use_is_a_process_and_its_sockets_and_shared_memory_is_left_once_nobody_has_it(process):
    footprint, running, segment = process
    other = Footprint()
    left = footprint.left(time.monotonic())
    assert [line.split()[1] for line in left.processes] == ["-c"]
    assert left.segments == ()
    assert left.sockets == (f"{footprint.directory}/sock",)

    running.kill()
    running.wait()
    left = footprint.left(time.monotonic())
    assert left == Left(segments=(segment,))
    assert left
    assert socket_files(footprint.directory) == [f"{footprint.directory}/sock"]
    assert not other.left(time.monotonic()), "it is not this one's: it was there before"
    other.remove()


def test_what_ends_in_time_is_not_left(process):
    footprint, running, segment = process
    (SHARED_MEMORY / segment).unlink()
    ending = subprocess.Popen(["sh", "-c", f"sleep 0.7; kill -9 {running.pid}"])
    assert not footprint.left(time.monotonic() + 20)
    assert ending.wait() == 0
