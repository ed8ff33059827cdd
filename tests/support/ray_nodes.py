"""Ray nodes of this machine, each started by the command that a user types."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.processes import MARK

START_ATTEMPTS = 4
"""How often a node is started before that is given up."""


def environment(mark: str, directory: str, **more: str) -> dict[str, str]:
    """That of every process of a cluster and its driver: no other cluster, and no token of one."""
    others = ("RAY_ADDRESS", "RAY_AUTH", "RAY_REDIS")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    own = {MARK: mark, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": directory, "PYTHONPATH": str(ROOT)}
    return {**outside, **own, **more}


def started(
    around: Mapping[str, str], *options: str, where: tuple[str, ...] = (), **more: str
) -> subprocess.Popen[str]:
    """A Ray node that is up, with the environment ``around`` and ``more``; ``where`` comes before the
    command. Its raylet gives its agents 15 s to begin and then aborts: on a busy machine it is started
    again."""
    ray = str(Path(sys.executable).parent / "ray")
    command = (*where, ray, "start", "--block", "--disable-usage-stats", "--num-gpus=0", *options)
    for _ in range(START_ATTEMPTS):
        process = subprocess.Popen(
            command, env={**around, **more}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                return process
        process.wait()
    raise AssertionError(f"{' '.join(options)}: {''.join(said)}")
