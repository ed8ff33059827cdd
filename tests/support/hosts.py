"""Hosts that are network namespaces of this machine, each with a Ray node of its own and real links between
them, which can be cut. Needs root, and a kernel that has them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.processes import left_behind
from tests.support.ray_nodes import environment, started

BRIDGE = "ttc-hosts"
NETWORK = "10.213.0"
HEAD = f"{NETWORK}.1"
"""The head's host is this one's own namespace; the others are a cable away."""
HOSTS = {"a": f"{NETWORK}.2", "b": f"{NETWORK}.3"}


class NoHosts(Exception):
    """This machine has no network namespaces for us, and why."""


def cut(host: str) -> None:
    """No packet passes to or from the host any more."""
    _ip("link", "set", f"ttc-{host}", "down")


def join(host: str) -> None:
    _ip("link", "set", f"ttc-{host}", "up")


@contextmanager
def cluster(mark: str, directory: str) -> Iterator[str]:
    """The address of a Ray cluster of the head, with one CPU and the resource ``head``, and of each other
    host, with one CPU and the resource ``host``. ``directory``: a short path for Ray's own files. Raises
    NoHosts. At the end no process is left of those that ``mark`` marks."""
    _network()
    port = free_port()
    address = f"{HEAD}:{port}"
    head = (
        "--head",
        f"--port={port}",
        f"--node-ip-address={HEAD}",
        "--include-dashboard=false",
        '--resources={"head": 1}',
    )
    processes: list[subprocess.Popen[str]] = []
    try:
        around = environment(mark, directory)
        processes.append(started(around, "--num-cpus=1", *head))
        for host, ip in HOSTS.items():
            # Nodes that have their files in one directory and join at the same moment take the same sockets'
            # names there, and one of them aborts ("bind: Address already in use" in its raylet's log).
            own = ("--temp-dir", f"{directory}/{host}", '--resources={"host": 1}')
            inside = ("ip", "netns", "exec", f"ttc-{host}")
            where = (f"--address={address}", f"--node-ip-address={ip}")
            processes.append(started(around, "--num-cpus=1", *where, *own, where=inside))
        yield address
    finally:
        for host in HOSTS:
            join(host)  # what is cut off ends slowly
        for process in processes[::-1]:
            process.terminate()
        for process in processes:
            process.wait(60)
        left = left_behind(mark, within=150)  # Ray's agents look once a minute whether their node lives
        clear()
        assert not left, left


def clear() -> None:
    for host in HOSTS:
        _ip("netns", "del", f"ttc-{host}", check=False)
        _ip("link", "del", f"ttc-{host}", check=False)
    _ip("link", "del", BRIDGE, check=False)


def _network() -> None:
    if shutil.which("ip") is None:
        raise NoHosts("no ip command (iproute2)")
    clear()
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        for host, ip in HOSTS.items():
            name = f"ttc-{host}"
            _ip("netns", "add", name)
            _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", name, "master", BRIDGE, "up")
            _ip("-n", name, "addr", "add", f"{ip}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("addr", "add", f"{HEAD}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
    except subprocess.CalledProcessError as error:
        clear()
        raise NoHosts(f"no network namespaces here: {error.stderr.decode().strip()}") from None


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
