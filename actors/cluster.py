"""The Ray cluster that a run joins: whether it lets this process in, and what its nodes are called, have and
have free.

Ray itself waits for minutes where the address, the port or the token is wrong, and says so in its own words.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
import ray
from ray._private import state
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray._private.services import canonicalize_bootstrap_address, find_gcs_addresses
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
from ray.exceptions import AuthenticationError, RayError

from actors.spec import PoolSpec

REACH_SECONDS = 5.0
"""Seconds that the head of a cluster has to answer."""
HTTP2_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""An empty frame of settings, with which either side of HTTP/2 begins (RFC 9113, section 3.4). Its fourth
byte is the type."""
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HTTP2_SETTINGS
"""The beginning of a client; Ray's nodes speak HTTP/2 (gRPC)."""
LOOPBACK = "127.0.0.1"
"""Where a Ray of a run's own listens."""
SHOWN = 4
"""The most nodes, or replicas, that a line names."""


def check_cluster(address: str) -> str:
    """Returns the ``host:port`` of a cluster's head that lets this process in.

    Raises ConnectionError, in one line, where there is no head at ``address`` (``host:port``, or ``auto``),
    it refuses the token, or it runs another version of Ray.
    """
    found = address
    try:
        head = _head(address)
        found = address if head == address else f"{address}, which is {head}"
        host, _, port = head.rpartition(":")
        check_head(host, int(port))
        _check_admitted(head)
    except (OSError, RuntimeError, ValueError, AuthenticationError) as error:  # Ray's are of all these kinds
        raise ConnectionError(f"cluster.address={found}: {' '.join(str(error).split())}") from error
    return head


def _head(address: str) -> str:
    if address != "auto":
        return address
    known = canonicalize_bootstrap_address(address)  # RAY_ADDRESS, or what `ray start` has noted
    if known is not None:
        return known
    running = sorted(find_gcs_addresses())
    if len(running) == 1:
        return running[0]
    found = f"{len(running)} Rays run here, at {', '.join(running)}" if running else "no Ray runs here"
    raise ConnectionError(f"{found}; needed: ray start --address=HEAD:6379 first, or RAY_ADDRESS=HEAD:6379")


def check_head(host: str, port: int) -> None:
    """Raises ConnectionError where nobody listens there, or what listens does not speak as the head of a
    cluster does."""
    with _connected(host, port) as head:
        if _has_tls():  # it speaks only to whom it knows
            return
        try:
            head.sendall(HTTP2_HELLO)
            answer = head.recv(len(HTTP2_SETTINGS))
        except OSError:
            answer = b""
    if len(answer) < 4 or answer[3] != HTTP2_SETTINGS[3]:
        raise ConnectionError("what answers there is no head of a Ray cluster")


def check_reachable(host: str, port: int) -> None:
    """Raises ConnectionError where nobody listens there."""
    _connected(host, port).close()


def _connected(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host.strip("[]"), port), REACH_SECONDS)
    except OSError as error:
        raise ConnectionError(f"nobody answers there ({error})") from error


def _has_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _check_admitted(head: str) -> None:
    """Asks the head for its version and its nodes, which needs the token. Raises ConnectionError."""
    given = _token_given()
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray does so by itself for the address "auto" alone; a head that asks for no token ignores one.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        with init_grpc_channel(head, GLOBAL_GRPC_OPTIONS) as channel:
            heads = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            alive = heads.CheckAlive(gcs_service_pb2.CheckAliveRequest(), timeout=REACH_SECONDS)
            known = heads.GetAllNodeInfo(gcs_service_pb2.GetAllNodeInfoRequest(), timeout=REACH_SECONDS)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAUTHENTICATED:
            told = f"what answers there is no head of a Ray cluster ({error.details()})"
            raise ConnectionError(told) from None
        needed = "needed: the cluster's own, in ~/.ray/auth_token or a file that RAY_AUTH_TOKEN_PATH names"
        if given is None:
            mode = ", and no RAY_AUTH_MODE=disabled" if "RAY_AUTH_MODE" in os.environ else ""
            raise ConnectionError(f"it asks for a token, and none is given; {needed}{mode}") from None
        raise ConnectionError(f"it refuses the token of {given}; {needed}") from None
    if alive.ray_version != ray.__version__:
        versions = f"it runs Ray {alive.ray_version}, and here is {ray.__version__}"
        raise ConnectionError(f"{versions}; needed: the same version on all nodes")
    living = {node.node_manager_address for node in known.node_info_list if node.state == node.ALIVE}
    if living and living.isdisjoint(_own_addresses()):
        needed = f"needed: ray start --address={head} here first"
        raise ConnectionError(f"no node of it is on this machine; {needed}")


def _own_addresses() -> set[str]:
    found = {address.address for each in psutil.net_if_addrs().values() for address in each}
    return {address.partition("%")[0] for address in found}  # of IPv6 without the interface


def _token_given() -> str | None:
    """Returns where the token is from that this process sends; None where it sends none. Raises
    ConnectionError where it is asked to send one and has none."""
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    named, text = os.environ.get("RAY_AUTH_TOKEN_PATH"), os.environ.get("RAY_AUTH_TOKEN")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if mode not in ("", "token"):
        return None
    if text:
        return "RAY_AUTH_TOKEN"
    if os.access(file, os.R_OK) and file.stat().st_size:
        return str(file)
    if named or mode == "token":
        key = f"RAY_AUTH_TOKEN_PATH={named}" if named else f"RAY_AUTH_MODE=token, and {file}"
        raise ConnectionError(f"{key}: no token can be read there; needed: the one of the cluster")
    return None


def joined() -> str:
    """Returns the ``host:port`` of the head of the Ray that this process has joined."""
    return str(ray.get_runtime_context().gcs_address)


def answers(head: str) -> bool:
    """Tells whether a head can be reached."""
    host, _, port = head.rpartition(":")
    try:
        check_reachable(host, int(port))
    except ConnectionError:
        return False
    return True


def leaving() -> set[str]:
    """Returns the ids of the nodes that are to end: told to (SIGTERM), or drained by an autoscaler or a spot
    node's notice. Ray places nothing there any more. A Ray that is this machine's own has none.

    Raises grpc.RpcError where the head does not answer in ``REACH_SECONDS``.
    """
    if _is_own():
        return set()
    with init_grpc_channel(joined(), GLOBAL_GRPC_OPTIONS) as channel:
        head = gcs_service_pb2_grpc.NodeResourceInfoGcsServiceStub(channel)
        found = head.GetDrainingNodes(gcs_service_pb2.GetDrainingNodesRequest(), timeout=REACH_SECONDS)
    return {node.node_id.hex() for node in found.draining_nodes}


@dataclass(frozen=True)
class Node:
    """A living node of the cluster, and its resources by name."""

    id: str
    name: str
    """Its host, with its address where several nodes are on one host."""
    has: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, float] = field(default_factory=dict)

    def holds(self, wanted: Mapping[str, float]) -> bool:
        """Tells whether the node, were it empty, would have room for what is wanted."""
        return all(self.has.get(name, 0.0) >= amount for name, amount in wanted.items())

    def told(self, names: Collection[str]) -> str:
        """Says what is free of these resources, as ``1 of 4 CPU and 0 of 0 GPU on worker-1``."""
        parts = [f"{self.free.get(name, 0.0):g} of {self.has.get(name, 0.0):g} {name}" for name in names]
        return f"{' and '.join(parts)} on {self.name}"


def nodes() -> list[Node]:
    """Returns the living nodes of the cluster that this process has joined."""
    living = [node for node in ray.nodes() if node["Alive"]]
    free = state.available_resources_per_node()
    hosts = Counter(node["NodeManagerHostname"] for node in living)
    found = []
    for node in living:
        id, host, address = node["NodeID"], node["NodeManagerHostname"], node["NodeManagerAddress"]
        given = node["NodeName"] if node["NodeName"] != address else host  # else Ray's default
        name = given if hosts[host] == 1 or given != host else f"{host} ({address}, node {id[:6]})"
        found.append(Node(id, name, node["Resources"], free.get(id, {})))
    return found


def wanted(spec: PoolSpec) -> dict[str, float]:
    """Returns the resources that one replica takes, by Ray's names."""
    asked = {"CPU": spec.num_cpus, "GPU": spec.num_gpus, **spec.custom}
    return {name: amount for name, amount in asked.items() if amount}


def room_for(spec: PoolSpec, living: Sequence[Node]) -> str:
    """Says what a replica needs, what of that is free on which node, and whether any node could hold it.

    The GPUs of a replica that has several may be on several nodes, the first of them beside all else that it
    needs.
    """
    needs = wanted(spec)
    told = f"each needs {' and '.join(f'{amount:g} {name}' for name, amount in needs.items()) or 'nothing'}"
    if not living:
        return f"{told}; the cluster has no node"
    best = sorted(
        living, key=lambda node: [not node.holds(needs), *(-node.free.get(name, 0.0) for name in needs)]
    )
    free = ", ".join(node.told(needs) for node in best[:SHOWN])
    more = f" and {len(best) - SHOWN} more nodes" if len(best) > SHOWN else ""
    fits = any(node.holds(needs) for node in living)
    if spec.num_gpus > 1:  # its first GPU is on the node that has the rest of what it needs
        first = any(node.holds({**needs, "GPU": 1.0}) for node in living)
        fits = fits or (first and sum(node.has.get("GPU", 0.0) for node in living) >= spec.num_gpus)
    never = "" if fits else "; no node is large enough, so one that is must join"
    return f"{told}; free: {free}{more}{never}"


def check_room(specs: Sequence[PoolSpec], has: Mapping[str, float]) -> None:
    """Raises ValueError where the replicas that must be up need more of a resource than all nodes have, and
    no node can join."""
    needed: dict[str, float] = defaultdict(float)
    for spec in specs:
        for name, amount in wanted(spec).items():
            needed[name] += amount * (spec.replicas if spec.least is None else spec.least)
    for name, amount in needed.items():
        if amount > has.get(name, 0.0) + 1e-6:  # Ray counts in parts of 1e-4
            needs = f"the replicas that must be up need {amount:g} {name}"
            here = f"this machine has {has.get(name, 0):g}"
            raise ValueError(
                f"{needs}, and {here}; allowed: fewer, or a cluster that has them (cluster.address)"
            )


def room(spec: PoolSpec) -> str:
    """Says what a replica needs, and what the nodes have of it where that is known."""
    try:
        return room_for(spec, nodes())
    except (RayError, RuntimeError, OSError):  # the head is away
        return f"each needs {spec.needs}"


@dataclass(frozen=True)
class Demand:
    """What waits for room in the whole cluster."""

    shapes: Mapping[frozenset[tuple[str, float]], int]
    """The number of requests that no node has room for now, by what each asks for."""
    groups: int
    """The number of placement groups that wait."""
    pending: Mapping[str, bool]
    """This process's actors that are not up, by id; True where a node has once given it a process."""

    def of(self, spec: PoolSpec, absent: dict[str, str]) -> list[str]:
        """Returns the names of the replicas that wait for room, of those that are ``absent`` (with the ids of
        their actors). Of replicas that ask for the same, some of which start, those without a process count
        first, and the last ones: Ray places them in order."""
        starting = [name for name, id in reversed(absent.items()) if id in self.pending]
        starting.sort(key=lambda name: self.pending[absent[name]])
        asked = self.groups if spec.num_gpus > 1 else self.shapes.get(frozenset(wanted(spec).items()), 0)
        return sorted(starting[:asked], key=list(absent).index)


def demand() -> Demand:
    """Returns what waits for room in the cluster that this process has joined."""
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    pending: dict[str, bool] = {}
    for phase in ("PENDING_CREATION", "RESTARTING"):
        found = state.actors(job_id=job, actor_state_name=phase)
        pending |= {id: bool(actor["Address"].get("IPAddress")) for id, actor in found.items()}
    cluster = get_cluster_resource_state(GcsClient(address=joined()))
    shapes: Counter[frozenset[tuple[str, float]]] = Counter()
    for asked in cluster.pending_resource_requests:
        shapes[frozenset(asked.request.resources_bundle.items())] += asked.count
    return Demand(shapes, len(cluster.pending_gang_resource_requests), pending)


def _is_own() -> bool:
    """Tells whether this process has joined no cluster: it has no Ray, or one on this machine alone."""
    return not ray.is_initialized() or joined().startswith(f"{LOOPBACK}:")


def place_of(id: str) -> str:
    """Returns the name of a node; empty where the Ray is this machine's own, or does not know the node."""
    if _is_own():
        return ""
    return next((node.name for node in nodes() if node.id == id), "")
