"""A run over several hosts whose links are cut: real Ray, real vLLM, real packets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.on_hosts import CUT_SECONDS
from tests.support.paths import ROOT
from tests.support.ray_nodes import environment

SECONDS = 480
ASKED = "TTC_HOSTS"
"""The test takes minutes, and a busy machine lets its nodes' own deadlines pass: it is run when asked for."""


@pytest.mark.engine
@pytest.mark.cluster
@pytest.mark.skipif(ASKED not in os.environ, reason=f"takes minutes: make test-hosts, or {ASKED}=1")
def test_a_run_over_hosts_one_of_which_is_cut_off_for_20_seconds_and_then_for_good(tmp_path: Path):
    with tempfile.TemporaryDirectory(prefix="ttc-", dir="/tmp") as directory:  # short, for Ray's sockets
        try:
            with hosts.cluster(str(tmp_path), directory) as address:
                driver = subprocess.run(
                    [sys.executable, "-m", "tests.support.on_hosts", address, str(tmp_path / "runs")],
                    env=environment(str(tmp_path), directory),
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS,
                )
        except hosts.NoHosts as error:
            pytest.skip(str(error))
    assert driver.returncode == 0, driver.stderr
    found = json.loads(driver.stdout.splitlines()[-1])
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
