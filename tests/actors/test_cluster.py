"""What a cluster's nodes have is told in words; what keeps this process out of one is told in a line."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest

from actors import cluster, waiting
from actors.cluster import Demand, Node, check_cluster, check_room, room_for
from actors.spec import PoolSpec
from tests.support.echo import Echo


def spec(**values) -> PoolSpec:
    return PoolSpec("verifier", Echo, "model", **values)  # type: ignore[arg-type]


def node(name: str, free: dict[str, float], **has: float) -> Node:
    return Node(name * 8, name, has, free)


TWO = [node("a", {"CPU": 1}, CPU=2), node("b", {"CPU": 3, "GPU": 0}, CPU=4, GPU=1)]


NEVER = "; no node is large enough, so one that is must join"
B, A = "3 of 4 CPU on b", "1 of 2 CPU on a"
GPUS = [node("a", {"GPU": 0}, GPU=1), node("b", {"GPU": 1}, GPU=1)]


@pytest.mark.parametrize(
    ("wanted", "living", "told"),
    [
        ({}, TWO, f"1 CPU; free: {B}, {A}"),
        ({"num_cpus": 8}, TWO, f"8 CPU; free: {B}, {A}{NEVER}"),
        ({"num_gpus": 1}, TWO[1:], "1 CPU and 1 GPU; free: 3 of 4 CPU and 0 of 1 GPU on b"),
        ({"num_gpus": 2}, TWO[1:], f"1 CPU and 2 GPU; free: 3 of 4 CPU and 0 of 1 GPU on b{NEVER}"),
        ({"num_gpus": 2, "num_cpus": 0}, GPUS, "2 GPU; free: 1 of 1 GPU on b, 0 of 1 GPU on a"),
        ({"custom": {"big": 1}, "num_cpus": 0}, TWO[:1], f"1 big; free: 0 of 0 big on a{NEVER}"),
        ({}, TWO * 3, f"1 CPU; free: {B}, {B}, {B}, {A} and 2 more nodes"),
        ({}, [], "1 CPU; the cluster has no node"),
    ],
)
def test_what_is_awaited_and_what_is_free_where(wanted, living, told):
    assert room_for(spec(**wanted), living) == f"each needs {told}"


def test_the_first_of_several_gpus_is_where_the_rest_is_that_a_replica_needs():
    apart = [*GPUS, node("c", {"judges": 2}, judges=2)]
    wanted = spec(num_cpus=0, num_gpus=2, custom={"judges": 1})
    assert room_for(wanted, apart).endswith(NEVER)
    beside = [*GPUS, node("c", {"judges": 2, "GPU": 1}, judges=2, GPU=1)]
    assert not room_for(wanted, beside).endswith(NEVER)


def test_what_this_machine_alone_can_never_hold_is_told_before_it_is_awaited():
    has = {"CPU": 4.0, "GPU": 2.0, "memory": 1e9}
    fitting = [
        spec(num_gpus=0.5, replicas=4),
        spec(num_gpus=1, replicas=8, least=0),
        spec(num_cpus=4, least=0),
    ]
    check_room(fitting, has)
    check_room([spec(num_gpus=0.1, num_cpus=0, replicas=20)], has)
    with pytest.raises(
        ValueError, match=r"must be up need 2\.5 GPU, and this machine has 2; allowed: fewer, or"
    ):
        check_room([*fitting, spec(num_gpus=0.5, num_cpus=0)], has)
    with pytest.raises(ValueError, match="need 1 judges, and this machine has 0"):
        check_room([spec(custom={"judges": 1})], has)


def asking(ids: set[str]) -> Demand:
    """Actors with these ids wait for a CPU, and one with the id ``placed`` is on its way."""
    return Demand({frozenset({("CPU", 1.0)}): len(ids)}, 0, {**dict.fromkeys(ids, False), "placed": True})


@pytest.mark.parametrize(
    ("shapes", "groups", "values", "waiting"),
    [
        ({("CPU", 1.0): 2}, 0, {}, ["v-1", "v-2"]),
        ({("CPU", 1.0): 1}, 0, {}, ["v-2"]),
        ({("CPU", 1.0): 9}, 0, {}, ["v-0", "v-1", "v-2"]),
        ({("CPU", 2.0): 2}, 0, {}, []),
        ({("CPU", 2.0): 2}, 0, {"num_cpus": 2}, ["v-1", "v-2"]),
        ({("CPU", 1.0): 2}, 1, {"num_gpus": 2}, ["v-2"]),
        ({}, 0, {}, []),
    ],
)
def test_a_replica_waits_where_the_cluster_has_a_request_of_its_shape(shapes, groups, values, waiting):
    asked = Demand({frozenset([shape]): count for shape, count in shapes.items()}, groups, PENDING)
    assert asked.of(spec(**values), {"v-0": "a", "v-1": "b", "v-2": "c", "v-3": "up"}) == waiting


PENDING = {"a": True, "b": False, "c": False, "of another pool": False}


async def test_what_waits_for_room_is_told_once_and_again_when_it_is_others(monkeypatch):
    looks = iter([{"a", "b"}, {"a", "b"}, {"a", "b"}, {"a"}, {"a"}, set(), set(), {"c"}, {"c"}])
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look():
        ids = next(looks, None)
        if ids is None:
            loop.call_soon_threadsafe(looked.set)
        return asking(ids or set()), TWO

    absent = {"verifier-0": "a", "verifier-1": "b", "verifier-2": "c", "verifier-3": "placed"}
    pool = SimpleNamespace(spec=spec(), absent=absent)
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(waiting, "_look", look)
    told: list[str] = []
    telling = asyncio.create_task(waiting.tell_waiting([pool], told.append))  # type: ignore[list-item]
    await asyncio.wait_for(looked.wait(), 20)
    telling.cancel()
    room = "(each needs 1 CPU; free: 3 of 4 CPU on b, 1 of 2 CPU on a)"
    assert told == [
        f"waiting for room: verifier-0, verifier-1 {room}",
        f"waiting for room: verifier-0 {room}",
        f"waiting for room: verifier-2 {room}",
    ]


async def test_a_look_that_fails_is_made_again(monkeypatch):
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    left = iter(range(3))

    def look():
        if next(left, None) is not None:
            raise RuntimeError("the head is away")
        loop.call_soon_threadsafe(looked.set)
        return asking({"a"}), TWO

    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(waiting, "_look", look)
    pool = SimpleNamespace(spec=spec(), absent={"verifier-0": "a"})
    telling = asyncio.create_task(waiting.tell_waiting([pool], lambda line: None))  # type: ignore[list-item]
    await asyncio.wait_for(looked.wait(), 20)
    assert not telling.done()
    telling.cancel()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refused(address: str) -> str:
    with pytest.raises(ConnectionError) as error:
        check_cluster(address)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_auto_says_which_head_it_means(monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setattr(cluster, "canonicalize_bootstrap_address", lambda auto: address)
    assert refused("auto").startswith(f"cluster.address=auto, which is {address}: nobody answers there")


@pytest.mark.parametrize(
    ("running", "told"),
    [
        (set(), "no Ray runs here; needed: ray start --address=HEAD:6379 first, or RAY_ADDRESS=HEAD:6379"),
        ({"h:2", "h:1"}, "2 Rays run here, at h:1, h:2; needed: "),
    ],
)
def test_auto_without_one_cluster_says_what_is_needed(monkeypatch, running, told):
    monkeypatch.setattr(cluster, "canonicalize_bootstrap_address", lambda auto: None)
    monkeypatch.setattr(cluster, "find_gcs_addresses", lambda: running)
    assert refused("auto").startswith(f"cluster.address=auto: {told}")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE=token, and {home}/.ray/auth_token: no token can be read"),
        (
            {"RAY_AUTH_TOKEN_PATH": "{home}/t"},
            "RAY_AUTH_TOKEN_PATH={home}/t: no token can be read there; needed",
        ),
    ],
)
def test_a_token_that_is_not_there_is_one_line(monkeypatch, tmp_path, environment, told):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    monkeypatch.setattr(cluster, "check_head", lambda host, port: None)
    assert refused("h:1").startswith(f"cluster.address=h:1: {told.format(home=tmp_path)}")
