"""Replicas of one node open their ports in ranges that do not meet."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

from actors import ports

TAKE = """
import sys
from actors.ports import take_range
print(take_range(), flush=True)
sys.stdin.read()
"""


def test_processes_that_start_together_have_ranges_of_their_own_until_they_end():
    environment = {name: value for name, value in os.environ.items() if name != ports.VARIABLE}

    def begun() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", TAKE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    replicas = [begun() for _ in range(4)]
    firsts = [int(replica.stdout.readline()) for replica in replicas]  # type: ignore[union-attr]
    assert len(set(firsts)) == 4
    apart = sorted(firsts)
    assert all(right - left >= ports.EACH for left, right in itertools.pairwise(apart))
    assert apart[0] > ports.FIRST
    assert apart[-1] + ports.EACH - 2 < ports.AFTER
    for replica in replicas:
        replica.kill()
        replica.communicate()
    again = begun()
    assert int(again.stdout.readline()) == apart[0], "a process that was killed keeps nothing"  # type: ignore[union-attr]
    again.communicate("")


def test_vllm_opens_its_ports_in_the_range(monkeypatch: pytest.MonkeyPatch):
    from vllm.utils.network_utils import get_open_port

    monkeypatch.delenv(ports.VARIABLE, raising=False)
    monkeypatch.setattr(ports, "_kept", [])
    first = ports.take_range()
    try:
        assert first is not None
        assert first <= get_open_port() < first + ports.EACH - 1
        assert ports.take_range() is None, "what is set stays: it has one already"
    finally:
        for keeper in ports._kept:
            keeper.close()
        os.environ.pop(ports.VARIABLE, None)
