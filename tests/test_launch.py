"""How a command ends that is told to."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config import load
from orchestrator.journal import Journal
from orchestrator.preparation import fingerprint, prepare
from orchestrator.run import SUMMARY, unfinished

LAB = Path(__file__).parent.parent / "configs" / "lab.yaml"

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


def test_a_run_that_is_not_finished_is_found_by_its_configuration_alone(tmp_path):
    config = load(LAB, [f"runs={tmp_path}", "problems.limit=2"])
    other = load(LAB, [f"runs={tmp_path}", "problems.limit=2", "seed=1"])
    prepared = prepare(config)
    assert unfinished(prepared) is None
    for name in ("lab-1", "lab-2", "lab-3"):
        Journal(tmp_path / name / "journal.sqlite", fingerprint=fingerprint(prepared)).close()
    (tmp_path / "lab-3" / SUMMARY).write_text("{}")
    assert unfinished(prepared) == "lab-2"
    assert unfinished(prepare(other)) is None
