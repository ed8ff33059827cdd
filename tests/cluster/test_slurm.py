"""The Slurm script: it runs as Slurm starts it, with stand-ins for Slurm's commands, Ray and ttc."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import left_behind
from tests.support.slurm import CONFIG, JOB, RAY, SLURM, SLURMS, STAND_INS, batch, job


def test_the_slurm_script_is_bash_and_asks_slurm_for_what_it_uses():
    subprocess.run(["bash", "-n", SLURM], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", SLURM], check=True)
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", SLURM.read_text(), re.MULTILINE))
    assert asked.keys() >= {"nodes", "ntasks-per-node", "cpus-per-task", "time", "requeue", "no-kill"}
    assert asked["open-mode"] == "append", "what an earlier start said is kept"
    assert asked["signal"] == "B:USR1@120"
    assert not any("gpu" in name for name in asked), "the same script on nodes without GPUs"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["run"], {}, "usage: sbatch cluster/slurm.sh"),
        (["run", CONFIG], {"SLURM_JOB_ID": ""}, "start this script with sbatch"),
        (["run", CONFIG], {"PATH": "/usr/bin:/bin"}, "no ray on PATH: activate its environment"),
    ],
)
def test_a_slurm_job_that_cannot_run_says_so_in_one_line(tmp_path, arguments, environment, said):
    process = batch(tmp_path, *arguments, tools={**SLURMS, "ttc": STAND_INS["ttc"]}, **environment)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (1, 2)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not job(tmp_path).exists()


def test_a_job_whose_script_lies_alone_says_what_it_misses(tmp_path):
    alone = SLURMS["scontrol"].replace(str(SLURM), str(tmp_path / "slurm.sh"))
    process = batch(tmp_path, "run", CONFIG, tools={**STAND_INS, "scontrol": alone})
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == f"no run-or-resume beside slurm.sh: {tmp_path}/run-or-resume\n"


def test_a_slurm_job_whose_nodes_do_not_start_fails_and_is_not_started_again(tmp_path):
    process = batch(tmp_path, "run", CONFIG, tools={**STAND_INS, "srun": "#!/bin/bash\nexit 1\n"})
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Ray did not start" in err
    assert not (job(tmp_path) / "token").exists()
    assert not (tmp_path / "scontrol.called").exists()


def test_a_slurm_job_whose_head_does_not_start_does_not_wait_for_it(tmp_path, ray_directory):
    (tmp_path / "crash-0").touch()
    occupied = RAY.replace('if "--head" in options:', "if False:")
    process = start(tmp_path, ray_directory, tools={**STAND_INS, "ray": occupied})
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Ray did not start" in err
    assert err.count("died at its start") == 3
    assert not left_behind(str(tmp_path)), "the other node has waited for the head"


# -- The course of a job, with stand-ins ---------------------------------------------------------------


def start(
    cwd: Path, ray_directory: str, tools: dict[str, str] = STAND_INS, **environment: str
) -> subprocess.Popen[str]:
    arguments = ("run", "my.yaml", "budget.flops=1e9", "--json")
    environment = {"RUNS": "my runs", "RAY_TMPDIR": ray_directory, **environment}
    return batch(cwd, *arguments, tools=tools, **environment)


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def nodes_log(cwd: Path, node: int, start: int = 0) -> str:
    """What a node's Ray logged, of what is collected."""
    (log,) = (job(cwd) / f"start-{start}").glob(f"{node}-*/raylet.out")
    return log.read_text()


def test_a_job_that_slurm_starts_again_goes_on_with_the_same_run(tmp_path, ray_directory):
    first = start(tmp_path, ray_directory)
    eventually((job(tmp_path) / "run").exists)
    first.send_signal(signal.SIGUSR1)  # as --signal=B:USR1@120 has it, before the time is up
    _, err = first.communicate(timeout=60)
    assert "what was computed is kept" in err, "ttc ended in good order, and its last words are there"
    assert lines(tmp_path / "scontrol.called") == [f"requeue {JOB}"]
    assert not left_behind(str(tmp_path))

    again = start(tmp_path, ray_directory, SLURM_RESTART_COUNT="1")
    eventually(lambda: len(lines(tmp_path / "ttc.called")) == 2)
    (tmp_path / "done").touch()
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert lines(tmp_path / "ttc.called") == [
        "run my.yaml budget.flops=1e9 --json cluster.address=auto",
        "resume lab-1 --runs my runs --json",
    ]
    assert len(lines(tmp_path / "scontrol.called")) == 1, "a job that is done does not come back"
    for number in (0, 1):
        assert "--head" in nodes_log(tmp_path, 0, number), "each start has its logs"


def test_a_job_that_was_killed_goes_on_with_the_same_run(tmp_path, ray_directory):
    first = start(tmp_path, ray_directory)
    eventually((job(tmp_path) / "run").exists)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    assert (job(tmp_path) / "token").exists()

    (tmp_path / "done").touch()
    again = start(tmp_path, ray_directory, SLURM_RESTART_COUNT="1")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert lines(tmp_path / "ttc.called")[1].startswith("resume lab-1 ")
    assert not (job(tmp_path) / "token").exists()


def test_a_job_whose_run_has_left_nothing_begins_anew(tmp_path, ray_directory):
    job(tmp_path).mkdir()
    (job(tmp_path) / "run").write_text("lab-gone\nmy runs\n")
    (tmp_path / "done").touch()
    _, err = start(tmp_path, ray_directory).communicate(timeout=60)
    assert lines(tmp_path / "ttc.called")[0].startswith("run my.yaml "), err


def test_a_job_that_is_cancelled_ends_in_good_order_and_does_not_come_back(tmp_path, ray_directory):
    process = start(tmp_path, ray_directory)
    eventually((job(tmp_path) / "run").exists)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "what was computed is kept" in err
    assert not (tmp_path / "scontrol.called").exists()
    assert not left_behind(str(tmp_path))


def test_a_job_is_not_started_again_for_ever(tmp_path, ray_directory):
    counts = {"SLURM_RESTART_COUNT": "3", "TTC_MAX_RESTARTS": "3"}
    process = start(tmp_path, ray_directory, **counts)
    eventually((job(tmp_path) / "run").exists)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=60)
    assert "started again TTC_MAX_RESTARTS=3 times" in err
    assert not (tmp_path / "scontrol.called").exists()


def test_a_node_that_dies_does_not_end_the_job_and_its_logs_are_collected(tmp_path, ray_directory):
    process = start(tmp_path, ray_directory)
    eventually((job(tmp_path) / "run").exists)
    eventually(lambda: list(Path(ray_directory).glob("*-1/*/logs/raylet.out")))
    (tmp_path / "crash-1").touch()  # whenever it is started again, too
    eventually(lambda: list(job(tmp_path).glob("start-0/1-*/raylet.out.~3~")))
    eventually(lambda: not list(Path(ray_directory).glob("*-1")))
    assert "--address=" in nodes_log(tmp_path, 1), "collected while the job goes on"
    time.sleep(1.5)  # the script looks every second
    assert process.poll() is None
    assert len(lines(tmp_path / "ttc.called")) == 1

    (tmp_path / "done").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err.count("died at its start: it is started again") == 3
    assert "--head" in nodes_log(tmp_path, 0)
    assert not list(Path(ray_directory).iterdir()), "nothing of Ray's is left on a node"
    (called,) = lines(tmp_path / "srun.called")
    assert {"--no-kill", "--kill-on-bad-exit=0", "--wait=0"} <= set(called.split())


def test_a_head_that_dies_or_is_preempted_ends_ttc_in_good_order_and_the_job_comes_back(
    tmp_path, ray_directory
):
    process = start(tmp_path, ray_directory)
    eventually((job(tmp_path) / "run").exists)
    (tmp_path / "crash-0").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Ray's head has ended before ttc" in err
    assert "started again" not in err, "another head would not know the cluster"
    assert "what was computed is kept" in err
    assert lines(tmp_path / "scontrol.called") == [f"requeue {JOB}"]
    assert not left_behind(str(tmp_path))


@pytest.mark.parametrize("node", [0, 1])
def test_a_node_whose_ray_dies_at_its_start_is_started_again(tmp_path, ray_directory, node):
    (tmp_path / f"fail-{node}").write_text("2")
    process = start(tmp_path, ray_directory)
    eventually((job(tmp_path) / "run").exists)
    eventually(lambda: not (tmp_path / f"fail-{node}").exists())
    (tmp_path / "done").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    told = f"Ray on {socket.gethostname()} died at its start: it is started again"
    assert [line for line in err.splitlines() if "died" in line] == [f"{told}, {n} of 3" for n in (1, 2)]
    assert not (tmp_path / "scontrol.called").exists()
    assert len(list(job(tmp_path).glob(f"start-0/{node}-*/raylet.out*"))) == 3, "each start has its log"


@pytest.mark.parametrize(
    ("told", "visible"),
    [
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, "HIP_VISIBLE_DEVICES=0,1"),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "1"}, "HIP_VISIBLE_DEVICES=1"),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "CUDA_VISIBLE_DEVICES": "2,3"}, None),
    ],
)
def test_amds_gpus_that_slurm_names_are_numbered_for_ray(tmp_path, ray_directory, told, visible):
    (tmp_path / "done").touch()
    _, err = start(tmp_path, ray_directory, **told).communicate(timeout=60)
    found = [word for word in nodes_log(tmp_path, 1).split() if word.startswith("HIP_")]
    assert found == ([visible] if visible else []), err


@pytest.mark.parametrize(
    ("slurm", "gpus"),
    [
        ({}, 0),
        ({"SLURM_GPUS_ON_NODE": "4"}, 4),
        ({"SLURM_STEP_GPUS": "0,1"}, 2),
        ({"SLURM_JOB_GPUS": "3"}, 1),
    ],
)
def test_a_node_has_the_gpus_that_slurm_gave_it(tmp_path, ray_directory, slurm, gpus):
    (tmp_path / "done").touch()
    _, err = start(tmp_path, ray_directory, **slurm).communicate(timeout=60)
    assert f"--num-gpus={gpus} " in nodes_log(tmp_path, 0), err


def test_the_interface_of_the_fast_network_is_that_of_ray_gloo_and_nccl(tmp_path, ray_directory):
    (tmp_path / "done").touch()
    ip = """#!/bin/bash
[[ "$*" == *"dev ib0" ]] && echo "3: ib0    inet 127.0.0.5/24 brd 127.0.0.255 scope global ib0"
"""
    tools = {**STAND_INS, "ip": ip}
    _, err = start(tmp_path, ray_directory, tools, TTC_INTERFACE="ib0").communicate(timeout=60)
    log = nodes_log(tmp_path, 0)
    assert "--node-ip-address=127.0.0.5" in log, err
    told = {"GLOO_SOCKET_IFNAME=ib0", "NCCL_SOCKET_IFNAME=ib0", "VLLM_HOST_IP=127.0.0.5"}
    assert told <= set(log.split())

    process = start(tmp_path, ray_directory, tools, TTC_INTERFACE="ib7")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == f"TTC_INTERFACE=ib7: no IPv4 address on {socket.gethostname()}\n"


def test_nodes_without_internet_read_models_from_the_shared_disk(tmp_path, ray_directory):
    (tmp_path / "done").touch()
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    process = start(tmp_path, ray_directory, **offline)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == f"HF_HOME={tmp_path}/hub: no such directory, and HF_HUB_OFFLINE forbids a download\n"

    (tmp_path / "hub").mkdir()
    _, err = start(tmp_path, ray_directory, **offline).communicate(timeout=60)
    assert {f"HF_HOME={tmp_path}/hub", "HF_HUB_OFFLINE=1"} <= set(nodes_log(tmp_path, 0).split()), err
