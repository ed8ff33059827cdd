"""Hosts that are namespaces of this machine: each has processes of its own and a Ray node, and real links
between them, which can be cut. Needs root, and a kernel that has them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.support.processes import left_behind
from tests.support.ray_nodes import environment, started

BRIDGE = "ttc-hosts"
NETWORK = "10.213.0"
HEAD = f"{NETWORK}.1"
"""The head's network is this machine's own; the others are a cable away."""
HOSTS = {"a": f"{NETWORK}.2", "b": f"{NETWORK}.3"}
ALONE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Before a command: it and its children see no other process, and all end with it."""


class NoHosts(Exception):
    """This machine has no network namespaces for us, and why."""


def cut(host: str) -> None:
    """No packet passes to or from the host any more."""
    _ip("link", "set", f"ttc-{host}", "down")


def join(host: str) -> None:
    _ip("link", "set", f"ttc-{host}", "up")


class Cluster:
    """A Ray cluster of a head, with one CPU and the resource ``head``, and of other hosts, with ``cpus`` CPUs
    and the resource ``host`` each."""

    def __init__(self, mark: str, directory: str, cpus: int, redis: str = "") -> None:
        self.port = free_port()
        self.address = f"{HEAD}:{self.port}"
        self.directory, self._cpus = directory, cpus
        self.around = environment(mark, directory)
        self._kept = {"RAY_REDIS_ADDRESS": redis} if redis else {}
        self._nodes: dict[str, subprocess.Popen[str]] = {}

    def start_head(self) -> None:
        where = (f"--port={self.port}", f"--node-ip-address={HEAD}", "--include-dashboard=false")
        has = ("--num-cpus=1", '--resources={"head": 1}')
        self._nodes["head"] = started(self.around, "--head", *has, *where, where=ALONE, **self._kept)

    def start(self, host: str) -> None:
        # Nodes that have their files in one directory and join at the same moment take the same sockets'
        # names there, and one of them aborts ("bind: Address already in use" in its raylet's log).
        own = ("--temp-dir", f"{self.directory}/{host}", '--resources={"host": 1}')
        where = (f"--address={self.address}", f"--node-ip-address={HOSTS[host]}")
        self._nodes[host] = started(
            self.around,
            f"--num-cpus={self._cpus}",
            *where,
            *own,
            where=("ip", "netns", "exec", f"ttc-{host}", *ALONE),
        )

    def inside(self, host: str) -> tuple[str, ...]:
        """What comes before a command that runs on a host."""
        return ("nsenter", f"--target={self._first(host)}", "--net", "--pid", "--mount", "--")

    def lose(self, host: str) -> None:
        """Kills all processes of a host at once."""
        psutil.Process(self._first(host)).kill()
        self._nodes.pop(host).wait(60)

    def close(self) -> None:
        for process in self._nodes.values():
            process.kill()
        for process in self._nodes.values():
            process.wait(60)

    def _first(self, host: str) -> int:
        (first,) = psutil.Process(self._nodes[host].pid).children()
        return first.pid


@contextmanager
def cluster(
    mark: str, directory: str, hosts: tuple[str, ...] = tuple(HOSTS), *, cpus: int = 1, redis: bool = False
) -> Iterator[Cluster]:
    """A cluster whose nodes are up, and whose head keeps what it knows in a Redis where that is asked for.
    ``directory``: a short path for Ray's own files. Raises NoHosts. At the end no process is left of those
    that ``mark`` marks."""
    if redis and shutil.which("redis-server") is None:
        raise NoHosts("no redis-server")
    _network()
    store: subprocess.Popen[bytes] | None = None
    address = f"{HEAD}:{free_port()}" if redis else ""
    made = Cluster(mark, directory, cpus, address)
    try:
        if redis:
            where = ("--bind", HEAD, "--port", address.rpartition(":")[2], "--dir", directory)
            store = subprocess.Popen(
                ["redis-server", *where, "--save", "", "--protected-mode", "no"], stdout=subprocess.DEVNULL
            )
        made.start_head()
        for host in hosts:
            made.start(host)
        yield made
    finally:
        made.close()
        if store is not None:
            store.terminate()
            store.wait(60)
        left = left_behind(mark)
        clear()
        assert not left, left


def clear() -> None:
    for host in HOSTS:
        _ip("netns", "del", f"ttc-{host}", check=False)
        _ip("link", "del", f"ttc-{host}", check=False)
    _ip("link", "del", BRIDGE, check=False)


def _network() -> None:
    for command in ("ip", "unshare", "nsenter"):
        if shutil.which(command) is None:
            raise NoHosts(f"no {command} command (iproute2, util-linux)")
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
