"""A pool over several hosts, which are network namespaces of this machine: a link that is cut and comes back,
and one that is cut for good. Not in the suite: a second cluster in one process does
not always come up. By hand: ``pytest tests/hosts.py`` (with -k for one of them)."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from actors.pool import Pool, PoolSpec
from tests.processes import MARK, left_behind
from tests.test_nodes import OnNode
from tests.test_pool import request

BRIDGE = "ttc-hosts"
HEAD = "10.213.0.1"


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@dataclass
class Hosts:
    """The head's host is this one's own namespace; the others are a cable away, ``a`` and ``b``."""

    nodes: dict[str, str]
    """Ray's id of each host's node."""

    def cut(self, host: str) -> None:
        ip("link", "set", f"ttc-{host}", "down")

    def join(self, host: str) -> None:
        ip("link", "set", f"ttc-{host}", "up")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def started(mark: str, *command: str) -> subprocess.Popen[bytes]:
    ray_command = str(Path(sys.executable).parent / "ray")
    where, options = (command[:4], command[4:]) if command[0] == "ip" else ((), command)
    environment = {
        **os.environ,
        MARK: mark,
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    return subprocess.Popen(
        [*where, ray_command, "start", "--block", "--disable-usage-stats", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if shutil.which("ip") is None:
        pytest.skip("no ip command (iproute2)")
    clear()
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        for number, host in enumerate("ab", 2):
            ip("netns", "add", f"ttc-{host}")
            ip("link", "add", f"ttc-{host}", "type", "veth", "peer", "name", "eth0", "netns", f"ttc-{host}")
            ip("link", "set", f"ttc-{host}", "master", BRIDGE, "up")
            ip("-n", f"ttc-{host}", "addr", "add", f"10.213.0.{number}/24", "dev", "eth0")
            ip("-n", f"ttc-{host}", "link", "set", "eth0", "up")
            ip("-n", f"ttc-{host}", "link", "set", "lo", "up")
        ip("addr", "add", f"{HEAD}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
    except subprocess.CalledProcessError as error:
        clear()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    mark, port = str(tmp_path), free_port()
    processes = [
        started(
            mark, "--head", f"--port={port}", f"--node-ip-address={HEAD}", "--num-cpus=0", "--num-gpus=0",
            "--include-dashboard=false",
        )
    ]  # fmt: skip
    try:
        for number, host in enumerate("ab", 2):
            address = (f"--address={HEAD}:{port}", f"--node-ip-address=10.213.0.{number}")
            processes.append(
                started(mark, "ip", "netns", "exec", f"ttc-{host}", *address, "--num-cpus=1", "--num-gpus=0")
            )
            time.sleep(1)  # two that join at the same moment would take the same sockets' names
        nodes = joined(port)
        yield Hosts(nodes)
    finally:
        ray.shutdown()
        for process in processes[::-1]:
            process.terminate()
        for process in processes:
            process.wait(30)
        left = left_behind(mark, within=30)
        clear()
        assert not left


def joined(port: int) -> dict[str, str]:
    """Connect, and wait until both hosts are there."""
    deadline = time.monotonic() + 90
    while True:
        try:
            if not ray.is_initialized():
                ray.init(f"{HEAD}:{port}", _node_ip_address=HEAD, logging_level="ERROR", log_to_driver=False)
            alive = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
            if len(alive) == 3:
                return {"a": alive["10.213.0.2"], "b": alive["10.213.0.3"]}
        except (ConnectionError, ValueError, RuntimeError):
            pass
        assert time.monotonic() < deadline, "the hosts do not come up"
        time.sleep(0.5)


def clear() -> None:
    for host in "ab":
        ip("netns", "del", f"ttc-{host}", check=False)
        ip("link", "del", f"ttc-{host}", check=False)
    ip("link", "del", BRIDGE, check=False)


async def test_a_link_that_is_cut_for_20_seconds_loses_nothing(hosts: Hosts):
    pool = Pool(PoolSpec("echo", OnNode, "model", 2, options={"seconds": 0.05}))
    await pool.start(60)
    try:
        assert {info.node for info in pool.infos} == set(hosts.nodes.values())
        work = asyncio.gather(*(pool.run(request(i)) for i in range(3000)))
        await asyncio.sleep(1)
        hosts.cut("b")
        await asyncio.sleep(20)
        hosts.join("b")
        results = await asyncio.wait_for(work, 120)
        assert [result.tokens for result in results] == [(i,) for i in range(3000)]
        again = await asyncio.wait_for(asyncio.gather(*(pool.run(request(i)) for i in range(3000, 3200))), 60)
        assert {result.replica for result in again} == {"echo-0", "echo-1"}
    finally:
        await pool.close()


async def test_the_work_of_a_host_that_is_cut_off_for_good_is_done_by_the_other(hosts: Hosts):
    spec = PoolSpec("echo", OnNode, "model", 2, probe_after=2, probe_timeout=3, options={"seconds": 0.05})
    pool = Pool(spec)
    notices: list[str] = []
    pool.on_notice = notices.append
    await pool.start(60)
    try:
        lost = next(info.name for info in pool.infos if info.node == hosts.nodes["b"])
        work = asyncio.gather(*(pool.run(request(i)) for i in range(500)))
        await asyncio.sleep(1)
        hosts.cut("b")
        results = await asyncio.wait_for(work, 60)
        assert [result.tokens for result in results] == [(i,) for i in range(500)]
        assert lost not in {info.name for info in pool.up}
        assert f"{lost} is lost (silent for" in notices[0]
    finally:
        await pool.close()
