"""Runs Python that nobody has looked at in bounded processes without network.

Statements that test a program run in a process of their own: the program gives values across a pipe, and
reaches neither what compares them nor the verdict.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py").read_text(encoding="utf-8")
OUTPUT = 2**24
"""Bytes of results that are read of a process: one that writes more has none."""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Sandbox:
    """Processes that end after so many ``seconds``, and have so many MiB of ``memory`` each."""

    seconds: float
    memory: float

    def results(self, program: str, function: str, arguments: str) -> str:
        """Returns as JSON what a function of the program returns for each of the arguments; "" where it
        fails."""
        with self._running(f"results(out, {program!r}, {function!r}, {arguments!r})") as process:
            return _output(process, self.seconds + 1.0).decode(errors="replace")

    def passes(self, program: str, tests: str) -> bool:
        """Tells whether all statements of ``tests`` hold of the program."""
        verdict = os.urandom(16).hex()
        (asked, asks), (said, says) = os.pipe(), os.pipe()
        try:
            with (
                self._running(f"serve({program!r}, {asked}, {says})", asked, says),
                self._running(f"check(out, {tests!r}, {asks}, {said}, {verdict!r})", asks, said) as tester,
            ):
                for end in (asked, asks, said, says):  # a process that has ended is then seen to have
                    os.close(end)
                asked = asks = said = says = -1
                return _output(tester, self.seconds + 1.0).decode(errors="replace") == verdict
        finally:
            for end in {asked, asks, said, says} - {-1}:
                os.close(end)

    @contextmanager
    def _running(self, call: str, *pipes: int) -> Iterator[subprocess.Popen[bytes]]:
        """A process that makes a call behind the guard, and has these ends of pipes."""
        with tempfile.TemporaryDirectory(prefix="ttc-code-") as directory, tempfile.TemporaryFile() as script:
            script.write(f"{GUARD}\nout = limit({self.seconds!r}, {self.memory!r})\n{call}\n".encode())
            script.seek(0)
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-"],  # not as an argument: a program sees its arguments
                    cwd=directory,
                    env={**ENVIRONMENT, "HOME": directory, "TMPDIR": directory},
                    stdin=script,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    pass_fds=pipes,
                )
            except OSError as error:
                raise RuntimeError(f"no process for the answer's code: {error}") from error
            try:
                yield process
            finally:
                _end(process)


def _output(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """What a process writes until it ends; nothing where that takes longer or is more than ``OUTPUT``."""
    assert process.stdout is not None
    out, deadline = bytearray(), time.monotonic() + seconds
    while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(process.stdout.fileno(), 1 << 16)
        if not piece:
            return bytes(out)
        out += piece
        if len(out) > OUTPUT:
            break
    return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
