"""How a command ends that is told to."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, signal, sys
from rich.console import Console
from orchestrator.launch import until_interrupted

async def work():
    print("begun", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("closed", flush=True)

signal.signal(signal.SIGINT, {"default": signal.default_int_handler, "ignored": signal.SIG_IGN}[sys.argv[1]])
status, _ = until_interrupted(work(), Console(stderr=True), "all of it is kept")
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("sigint", "number"),
    [("default", signal.SIGINT), ("default", signal.SIGTERM), ("ignored", signal.SIGTERM)],
)
def test_a_signal_ends_the_work_in_good_order_also_in_a_background_job(sigint, number):
    command = [sys.executable, "-c", SCRIPT, sigint]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "closed\n")
    assert errors == "interrupted; all of it is kept\n"
