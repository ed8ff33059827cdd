"""The Slurm script: it runs as Slurm starts it, with stand-ins for Slurm's commands; for most tests also for
Ray and ttc, and once with two Ray nodes on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import LAB_CONFIG, ROOT
from tests.support.processes import MARK, left_behind

CONFIG = str(LAB_CONFIG)
SLURM = ROOT / "cluster" / "slurm.sh"
NODES = 2
START_SECONDS = 400

SRUN = """#!/bin/bash
# srun on one machine: as many tasks as nodes, each told its number. The step lasts as long as its tasks;
# SIGTERM makes it kill them, as the real one does.
printf '%s\\n' "$*" >>srun.called
while [[ "$1" == --* ]]; do shift; done
for ((node = 0; node < SLURM_NNODES; node++)); do
  SLURM_NODEID=$node "$@" &
  echo $! >>srun.tasks
done
trap 'kill -KILL $(jobs -p) 2>/dev/null' TERM
while [[ -n "$(jobs -pr)" ]]; do wait; done
"""
SCANCEL = """#!/bin/bash
# scancel --signal=TERM JOB: the tasks of its steps, and not the batch script.
[[ "$1" == --signal=TERM && "$2" == "$SLURM_JOB_ID" ]] || exit 1
kill $(<srun.tasks) 2>/dev/null
"""
SCONTROL = f"""#!/bin/bash
# scontrol tells where the script of a job is, and puts one back.
if [[ "$*" == "show job $SLURM_JOB_ID" ]]; then
  printf 'JobId=%s JobName=ttc\\n   Command={SLURM} run my.yaml\\n   WorkDir=%s\\n' "$SLURM_JOB_ID" "$PWD"
else
  echo "$*" >>scontrol.called
fi
"""
RAY = f"""#!{sys.executable}
# ray start --block: a head listens; each keeps a log, and ends at SIGTERM, or when the file crash-N is there.
# As often as the file fail-N says it dies as it starts, and then the file goes.
import os, pathlib, signal, socket, sys, time
options = dict(word.partition("=")[::2] for word in sys.argv[2:])
logs = pathlib.Path(options["--temp-dir"], "session_2026-01-01", "logs")
logs.mkdir(parents=True)
told = "GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME VLLM_HOST_IP HF_HOME HF_HUB_OFFLINE HIP_VISIBLE_DEVICES".split()
environment = " ".join(f"{{name}}={{os.environ[name]}}" for name in told if name in os.environ)
(logs / "raylet.out").write_text(" ".join(sys.argv[1:]) + "\\n" + environment)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if (fail := pathlib.Path("fail-" + os.environ["SLURM_NODEID"])).exists():
    if left := int(fail.read_text()):
        fail.write_text(str(left - 1))
        sys.exit(1)
    fail.unlink()
if "--head" in options:
    server = socket.create_server(("", int(options["--port"])))
while not os.path.exists("crash-" + os.environ["SLURM_NODEID"]):
    time.sleep(0.05)
sys.exit(1)
"""
TTC = """#!/bin/bash
# ttc: names its run, works until the file done is there, and ends in good order at SIGTERM.
echo "$*" >>ttc.called
case "$1" in
  run)
    name="lab-$(wc -l <ttc.called)" where=" in $RUNS"
    mkdir -p "$RUNS/$name"
    touch "$RUNS/$name/config.yaml"
    ;;
  resume) name="$2"; [[ "$3 $4" == "--runs $RUNS" ]] || exit 2; where="" ;;
esac
echo "run $name$where" >&2
trap 'echo "interrupted; what was computed is kept" >&2; exit 130' TERM
while [[ ! -e done ]]; do sleep 0.05; done
"""
REAL_TTC = f'#!/bin/bash\nexec {sys.executable} -m tests.support.without_engines "$@"\n'
SLURMS = {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}
STAND_INS = {**SLURMS, "ray": RAY, "ttc": TTC}


def batch(cwd: Path, *arguments: str, tools: dict[str, str], **environment: str) -> subprocess.Popen[str]:
    """The script as Slurm starts it: a copy, in the submission's directory, with the job's environment."""
    path = cwd / "bin"
    path.mkdir(exist_ok=True)
    for name, program in tools.items():
        (path / name).write_text(program)
        (path / name).chmod(0o755)
    script = cwd / "slurm_script"
    shutil.copy(SLURM, script)
    (cwd / "srun.tasks").unlink(missing_ok=True)
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "SLURM_", "HF_", "TTC_")) and not name.endswith("_VISIBLE_DEVICES")
    }
    slurm = {"SLURM_JOB_ID": JOB, "SLURM_NNODES": str(NODES), "SLURM_CPUS_PER_TASK": "1"}
    paths = os.pathsep.join([str(path), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        ["bash", str(script), *arguments],
        cwd=cwd,
        env={**outside, **slurm, "PATH": paths, "PYTHONPATH": str(ROOT), MARK: str(cwd), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


JOB = str(os.getpid())
PORT = 20000 + 2 * (os.getpid() % 5000)


@pytest.fixture
def ray_directory() -> Iterator[str]:
    """Short, since the paths of Ray's sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="ttc-", dir="/tmp") as directory:
        yield directory


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
    process = batch(tmp_path, *arguments, tools={**SLURMS, "ttc": TTC}, **environment)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (1, 2)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not job(tmp_path).exists()


def test_a_job_whose_script_lies_alone_says_what_it_misses(tmp_path):
    alone = SCONTROL.replace(str(SLURM), str(tmp_path / "slurm.sh"))
    process = batch(tmp_path, "run", CONFIG, tools={**STAND_INS, "scontrol": alone})
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == f"no run-or-resume beside slurm.sh: {tmp_path}/run-or-resume\n"


def job(cwd: Path) -> Path:
    return cwd / f"slurm-{JOB}"


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


# -- Two Ray nodes -------------------------------------------------------------------------------------


def token_of(cwd: Path, process: subprocess.Popen[str]) -> Path:
    token = job(cwd) / "token"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if token.exists() and token.stat().st_size:
            return token
        time.sleep(0.05)
    pytest.fail(f"no token; status {process.poll()}: {process.stderr.read()}")


def accepts(port: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.2)
    return False


JOIN = """
import ray, sys
try:
    ray.init(address=sys.argv[1], logging_level="ERROR")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(len(ray.nodes()))
"""


def refused(address: str, log: Path, **environment: str) -> bool:
    """Whether a client that would use the head at ``address`` is told that it may not. (Ray's client tries
    again for minutes then.)"""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with log.open("w") as file:
        client = subprocess.Popen(
            [sys.executable, "-c", JOIN, address], env={**outside, **environment}, stdout=file, stderr=file
        )
    deadline = time.monotonic() + 120
    try:
        while client.poll() is None and time.monotonic() < deadline and "auth" not in log.read_text().lower():
            time.sleep(0.2)
    finally:
        client.kill()
        client.wait()
    return client.returncode != 0 and "auth" in log.read_text().lower()


@pytest.mark.cluster
def test_a_run_on_two_nodes_under_slurm(tmp_path, ray_directory):
    """One replica a node, without an engine: it ends only if both nodes are in. Strangers are refused
    meanwhile; afterwards no process is left, and no token."""
    small = ("strategy.name=best_of_n", "strategy.n=2", "problems.limit=2", "generator.replicas=1")
    tools = {**SLURMS, "ttc": REAL_TTC}
    process = batch(tmp_path, "run", CONFIG, *small, "--json", tools=tools, RAY_TMPDIR=ray_directory)
    token = token_of(tmp_path, process)
    assert token.stat().st_mode & 0o777 == 0o600

    assert accepts(PORT, START_SECONDS)
    (tmp_path / "wrong").write_text("0" * 64)
    nowhere = str(tmp_path / "home")
    for stranger in (
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")},
        {"RAY_AUTH_MODE": "disabled", "HOME": nowhere},
    ):
        log = tmp_path / "client.log"
        assert refused(f"127.0.0.1:{PORT}", log, RAY_TMPDIR=ray_directory, **stranger), log.read_text()

    out, err = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 0, err
    summary = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    assert (summary["problems"], summary["failed"]) == (2, 0)
    assert len(re.findall(r" up on \S+ .*after ", err)) == 2
    assert not left_behind(str(tmp_path))
    assert not token.exists()
