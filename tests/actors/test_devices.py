"""The GPUs of a replica: what it sees, how much of a device is its own, whose turn it is; without a GPU."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from ray._private.accelerators import amd_gpu

from actors import devices
from actors.devices import CUDA, HIP, ROCR, Devices, number_devices, own_devices, sees_no_gpu
from actors.engine_defaults import device_options
from actors.engine_options import check_sees_gpu
from actors.hub import HubAccess


@pytest.mark.parametrize(
    ("gpus", "options"),
    [
        (0, {}),
        (1, {}),
        (0.5, {"gpu_memory_utilization": 0.46}),
        (0.25, {"gpu_memory_utilization": 0.23}),
        (2, {"distributed_executor_backend": "ray"}),
    ],
)
def test_an_engine_is_given_its_share_of_a_device_and_ray_where_it_has_several(gpus, options):
    assert device_options(gpus) == options


@pytest.mark.parametrize("own", [{CUDA: "3"}, {HIP: "3"}, {HIP: "3", ROCR: "0,1,2,3"}])
def test_a_replica_without_a_gpu_sees_none_and_one_with_a_gpu_sees_its_own(monkeypatch, own):
    environment = {"PATH": "/bin", **own}
    monkeypatch.setattr(devices.os, "environ", environment)
    Devices(0.5, ("3",)).hide()
    Devices(2).hide()
    assert environment == {"PATH": "/bin", **own}
    assert not sees_no_gpu(environment)
    Devices(0).hide()
    assert (environment[CUDA], environment[HIP]) == ("", "-1")
    assert sees_no_gpu(environment)
    environment[CUDA] = environment[HIP]  # vLLM, for AMD's GPUs
    assert sees_no_gpu(environment)


@pytest.mark.parametrize(
    ("environment", "numbered"),
    [
        ({ROCR: "2,3"}, "0,1"),
        ({ROCR: "GPU-deadbeefdeadbeef"}, "0"),
        ({ROCR: ""}, ""),
        ({ROCR: "2,3", HIP: "1"}, "1"),
        ({ROCR: "2,3", CUDA: "2,3"}, None),
        ({}, None),
    ],
)
def test_ray_takes_the_gpus_that_rocr_leaves(monkeypatch, environment, numbered):
    monkeypatch.setattr(amd_gpu.os, "environ", environment)
    number_devices(environment)
    assert environment.get(HIP) == numbered
    if numbered:
        found = amd_gpu.AMDGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
        assert found == numbered.split(",")


def test_an_engine_for_gpus_that_sees_none_is_refused_in_a_line_with_the_key(monkeypatch):
    for name in (CUDA, HIP):
        monkeypatch.delenv(name, raising=False)
    check_sees_gpu(on_cpu=False)
    monkeypatch.setenv(CUDA, "")
    check_sees_gpu(on_cpu=True)
    with pytest.raises(ValueError, match=r"^resources\.num_gpus: 0, and .*; allowed: a number above 0"):
        check_sees_gpu(on_cpu=False)
    monkeypatch.setenv(HIP, "0")  # on AMD's GPUs the other one is not read then
    check_sees_gpu(on_cpu=False)


@pytest.mark.parametrize(
    ("others", "second_waits"),
    [(Devices(0.5, ("0",)), True), (Devices(0.5, ("1",)), False), (Devices(1, ("0",)), False)],
)
def test_replicas_that_share_a_device_start_in_turn(monkeypatch, tmp_path, others, second_waits):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    started = threading.Event()

    def start() -> None:
        with others.turn():
            started.set()

    second = threading.Thread(target=start)
    with Devices(0.5, ("0",)).turn():
        second.start()
        assert started.wait(0.3 if second_waits else 5) is not second_waits
    assert started.wait(5)
    second.join(5)


def in_an_actor(monkeypatch, *, resources, ids=(), bundles=None) -> None:
    context = SimpleNamespace(get_actor_id=lambda: "a", get_assigned_resources=lambda: resources)
    group = None if bundles is None else SimpleNamespace(bundle_specs=bundles)
    monkeypatch.setattr(devices.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(devices.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(devices.ray, "get_gpu_ids", lambda: list(ids))
    monkeypatch.setattr(devices, "get_current_placement_group", lambda: group)


def test_a_process_finds_out_what_ray_holds_for_it(monkeypatch):
    monkeypatch.setattr(devices.ray, "is_initialized", lambda: False)
    assert own_devices() is None
    in_an_actor(monkeypatch, resources={"CPU": 1.0})
    assert own_devices() == Devices(0.0)
    in_an_actor(monkeypatch, resources={"CPU": 1.0, "GPU": 0.5}, ids=[3])
    assert own_devices() == Devices(0.5, ("3",))
    in_an_actor(monkeypatch, resources={"CPU": 1.0}, bundles=[{"GPU": 1.0, "CPU": 1.0}, {"GPU": 1.0}])
    assert own_devices() == Devices(2.0)


def test_access_to_the_hub_goes_along_and_the_nodes_own_stays_and_no_text_shows_it():
    access = HubAccess.of({"HF_TOKEN": "hf_secret", "HF_HOME": "/here", "PATH": "/bin", "HF_ENDPOINT": ""})
    node = {"HF_HOME": "/there"}
    access.apply(node)
    assert node == {"HF_TOKEN": "hf_secret", "HF_HOME": "/there"}
    assert "secret" not in repr(access)
