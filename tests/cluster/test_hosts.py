"""Runs over several hosts whose links are cut, and whose head is lost: real Ray, real vLLM, real packets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import hosts
from tests.support.on_hosts import BEGUN, CUT_SECONDS
from tests.support.paths import ROOT

SECONDS = 480
AWAY_SECONDS = 15
ASKED = "TTC_HOSTS"
"""They take minutes, and a busy machine lets its nodes' own deadlines pass: they are run when asked for."""

pytestmark = [
    pytest.mark.engine,
    pytest.mark.cluster,
    pytest.mark.skipif(ASKED not in os.environ, reason=f"takes minutes: make test-hosts, or {ASKED}=1"),
]


Driver = subprocess.Popen[str]


@contextmanager
def driver(cluster: hosts.Cluster, host: str, scenario: str, runs: Path) -> Iterator[Driver]:
    """A scenario of ``tests.support.on_hosts`` that runs on a host."""
    script = (sys.executable, "-m", "tests.support.on_hosts", scenario, cluster.address, str(runs))
    process = subprocess.Popen(
        [*cluster.inside(host), *script], env=cluster.around, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def end_of(process: Driver) -> dict[str, Any]:
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return json.loads(printed.splitlines()[-1])


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ttc-", dir="/tmp") as directory:  # short, for Ray's sockets
        yield directory


def test_a_run_over_hosts_one_of_which_is_cut_off_for_20_seconds_and_then_for_good(
    tmp_path: Path, directory: str
):
    try:
        with (
            hosts.cluster(str(tmp_path), directory) as cluster,
            driver(cluster, "head", "cut_off", tmp_path) as process,
        ):
            found = end_of(process)
    except hosts.NoHosts as error:
        pytest.skip(str(error))
    assert len(set(found["nodes"].values())) == 2, "a generator on each host"
    assert found["same"] == [True, True], (
        "each with the solutions, the charge and the operations of the first"
    )
    _, healed, _ = found["seconds"]

    # The run waits for the host, or gives its work to the other: that depends on when the link's packets are
    # sent again, which may be seconds after it is back.
    assert found["waited"]
    assert healed > CUT_SECONDS
    assert found["lost_while_away"] <= 1

    # One that does not come back is given up, by Ray's word or a probe, and the other does its work.
    assert any(" is lost (" in notice for notice in found["notices"]), found["notices"]


def test_a_run_whose_head_is_killed_goes_on_when_a_head_with_the_same_redis_is_started(
    tmp_path: Path, directory: str
):
    try:
        with (
            hosts.cluster(str(tmp_path), directory, ("a",), cpus=2, redis=True) as cluster,
            driver(cluster, "a", "without_head", tmp_path) as process,
        ):
            assert process.stdout is not None
            assert any(line.strip() == BEGUN for line in process.stdout), process.wait()
            cluster.lose("head")
            time.sleep(AWAY_SECONDS)
            cluster.start_head()
            found = end_of(process)
    except hosts.NoHosts as error:
        pytest.skip(str(error))
    assert found["same"], "the solutions, the charge and the operations of the undisturbed run"
    told = [line for line in found["notices"] if "the head of" in line]
    assert len(told) == 2, told
    assert "does not answer; it is awaited for 60 s" in told[0]
    assert told[1].endswith("is back")
