"""Engines that a machine cannot hold are refused with numbers before any is started."""

from __future__ import annotations

import pytest

from actors.endpoint import EndpointActor
from actors.generator import GeneratorActor
from actors.spec import PoolSpec
from orchestrator.errors import BadInput
from orchestrator.runs import capacity
from orchestrator.runs.capacity import GIB, check_capacity, engine_bytes, free_memory


def pool(replicas: int, name: str = "generator", **values) -> PoolSpec:
    return PoolSpec(name, GeneratorActor, "owner/model", replicas, **values)


def test_engines_that_fit_are_not_spoken_of():
    assert check_capacity([pool(2), pool(1, "verifier")], cores=2, memory=20 * GIB) is None


def test_far_too_many_are_refused_with_how_many_fit():
    with pytest.raises(BadInput) as refused:
        check_capacity([pool(50), pool(1, "verifier")], cores=2, memory=13 * GIB // 2)
    assert str(refused.value) == (
        "generator.replicas: 50 is not usable; 51 engines need about 102.0 GiB of memory, and 6.5 GiB are "
        "free here; allowed: 2 or fewer, or a cluster (cluster.address)"
    )


def test_a_few_too_many_are_warned_of_since_the_estimate_may_be_wrong():
    said = check_capacity([pool(2), pool(1, "verifier")], cores=2, memory=5 * GIB)
    assert said == "3 engines need about 6.0 GiB of memory, and 5.0 GiB are free here"
    assert "1 engine need" in (check_capacity([pool(1)], cores=1, memory=GIB // 2) or "")


def test_more_than_cores_can_run_is_warned_of():
    said = check_capacity([pool(9)], cores=4, memory=1000 * GIB)
    assert said == "9 engines ask for 9 CPUs of 4 cores: they wait for each other"


def test_what_is_not_on_this_machines_cpus_is_left_to_others():
    served = PoolSpec("generator", EndpointActor, "m", 50)
    assert check_capacity([pool(50, num_gpus=1.0), served], cores=1, memory=GIB) is None


def test_weights_and_the_cache_count(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    options = {"engine": {"kv_cache_memory_bytes": 24}}
    assert engine_bytes(PoolSpec("v", GeneratorActor, str(tmp_path), options=options)) == GIB + 1024


def test_free_memory_is_within_the_control_groups_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(capacity, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(capacity, "GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(capacity, "CGROUP", tmp_path)
    assert free_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert free_memory() == 8000 * 1024
    for group, limit in ((tmp_path, "max"), (tmp_path / "job", "5000000")):
        group.mkdir(exist_ok=True)
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text("3000000\n")
        (group / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    (tmp_path / "cgroup").write_text("0::/job\n")
    assert free_memory() == 3_000_000
