"""The Slurm script with two Ray nodes on this machine, and with ttc."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import left_behind
from tests.support.slurm import CONFIG, PORT, REAL_TTC, SLURMS, batch, job

START_SECONDS = 400


def token_of(cwd: Path, process: subprocess.Popen[str]) -> Path:
    token = job(cwd) / "token"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if token.exists() and token.stat().st_size:
            return token
        time.sleep(0.05)
    pytest.fail(f"no token; status {process.poll()}: {process.stderr.read()}")


def accepts(port: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.2)
    return False


JOIN = """
import ray, sys
try:
    ray.init(address=sys.argv[1], logging_level="ERROR")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(len(ray.nodes()))
"""


def refused(address: str, log: Path, **environment: str) -> bool:
    """Whether a client that would use the head at ``address`` is told that it may not. (Ray's client tries
    again for minutes then.)"""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with log.open("w") as file:
        client = subprocess.Popen(
            [sys.executable, "-c", JOIN, address], env={**outside, **environment}, stdout=file, stderr=file
        )
    deadline = time.monotonic() + 120
    try:
        while client.poll() is None and time.monotonic() < deadline and "auth" not in log.read_text().lower():
            time.sleep(0.2)
    finally:
        client.kill()
        client.wait()
    return client.returncode != 0 and "auth" in log.read_text().lower()


@pytest.mark.cluster
def test_a_run_on_two_nodes_under_slurm(tmp_path, ray_directory):
    """One replica a node, without an engine: it ends only if both nodes are in. Strangers are refused
    meanwhile; afterwards no process is left, and no token."""
    small = ("strategy.name=best_of_n", "strategy.n=2", "problems.limit=2", "generator.replicas=1")
    tools = {**SLURMS, "ttc": REAL_TTC}
    process = batch(tmp_path, "run", CONFIG, *small, "--json", tools=tools, RAY_TMPDIR=ray_directory)
    token = token_of(tmp_path, process)
    assert token.stat().st_mode & 0o777 == 0o600

    assert accepts(PORT, START_SECONDS)
    (tmp_path / "wrong").write_text("0" * 64)
    nowhere = str(tmp_path / "home")
    for stranger in (
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")},
        {"RAY_AUTH_MODE": "disabled", "HOME": nowhere},
    ):
        log = tmp_path / "client.log"
        assert refused(f"127.0.0.1:{PORT}", log, RAY_TMPDIR=ray_directory, **stranger), log.read_text()

    out, err = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 0, err
    summary = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    assert (summary["problems"], summary["failed"]) == (2, 0)
    assert len(re.findall(r" up on \S+ .*after ", err)) == 2
    assert not left_behind(str(tmp_path))
    assert not token.exists()
