"""The files in cluster/, as far as one machine can tell: each is valid for what reads it, and the Slurm
script really runs, with two Ray nodes on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.config.loading import load
from tests.support.paths import LAB_CONFIG, ROOT
from tests.support.processes import MARK, left_behind

CLUSTER = ROOT / "cluster"
CONFIG = str(LAB_CONFIG)
SLURM = str(CLUSTER / "slurm.sh")


def text(name: str) -> str:
    return (CLUSTER / name).read_text()


PINS = dict(
    line.split("==")
    for name in ("constraints.txt", "constraints-cpu.txt")
    for line in text(name).splitlines()
    if "==" in line
)


# -- Ray's cluster launcher ----------------------------------------------------------------------------


@pytest.fixture
def launcher() -> dict:
    return yaml.safe_load(text("ray-cluster.yaml"))


def test_the_launcher_accepts_its_file(launcher):
    prepared = prepare_config(launcher)
    validate_config(prepared)
    (workers,) = prepared["available_node_types"].values()
    machines = len(launcher["provider"]["worker_ips"])
    assert (workers["min_workers"], workers["max_workers"]) == (machines, machines), "all, always"


def test_the_launcher_checks_its_file(launcher):

    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        validate_config(prepare_config({**launcher, "idle_timeout": 10}))


def test_every_node_that_the_launcher_starts_asks_for_the_token(launcher):
    head, worker = ("\n".join(launcher[f"{role}_start_ray_commands"]) for role in ("head", "worker"))
    for commands in (head, worker):
        assert "RAY_AUTH_MODE=token ray start" in commands
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0 --num-gpus=0" in head, "no replica on the head"
    assert launcher["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_every_dependency_has_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pinned = {name.lower() for name in PINS}
    for requirement in [*project["dependencies"], *extras["cpu"], *extras["dev"]]:
        name = re.match(r"[\w-]+", requirement).group()
        assert "==" in requirement or name in pinned, name


def test_the_readmes_sections_are_accepted(tmp_path):
    sections = re.findall(r"```yaml\n(.*?)```", text("README.md"), re.DOTALL)
    assert len(sections) == 2
    for section in sections:
        file = tmp_path / "my.yaml"
        file.write_text(f"base: {CONFIG}\n{section}")
        load(file)


# -- Slurm ---------------------------------------------------------------------------------------------

SRUN = """#!/bin/bash
# srun on one machine: as many tasks as nodes, each told its number; SIGTERM goes on to all of them; one that
# ends, ends all.
while [[ "$1" == --* ]]; do shift; done
for ((node = 0; node < SLURM_NNODES; node++)); do SLURM_NODEID=$node "$@" & done
trap 'kill $(jobs -p) 2>/dev/null' TERM
wait -n
status=$?
kill $(jobs -p) 2>/dev/null
while [[ -n "$(jobs -pr)" ]]; do wait; done
exit $status
"""
NODES = 2
START_SECONDS = 400


def batch(cwd: Path, *arguments: str, srun: str = SRUN, **environment: str) -> subprocess.Popen[str]:
    """The script as Slurm starts it: a copy, in the submission's directory, with the job's environment."""
    tools = cwd / "bin"
    tools.mkdir()
    (tools / "srun").write_text(srun)
    (tools / "ttc").write_text(f'#!/bin/bash\nexec {sys.executable} -m tests.support.without_engines "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    script = cwd / "slurm_script"
    shutil.copy(SLURM, script)
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NNODES": str(NODES), "SLURM_CPUS_PER_TASK": "1"}
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        ["bash", str(script), *arguments],
        cwd=cwd,
        env={**outside, **slurm, "PATH": path, "PYTHONPATH": str(ROOT), MARK: str(cwd), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def ray_directory() -> Iterator[str]:
    """Short, since the paths of Ray's sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="ttc-", dir="/tmp") as directory:
        yield directory


def test_the_slurm_script_is_bash_and_asks_slurm_for_what_it_uses():
    subprocess.run(["bash", "-n", SLURM], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", SLURM], check=True)
    asked = set(re.findall(r"^#SBATCH --([\w-]+)=", text("slurm.sh"), re.MULTILINE))
    assert asked >= {"nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node", "time", "signal"}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["run"], {}, "usage: sbatch cluster/slurm.sh"),
        (["run", CONFIG], {"SLURM_JOB_ID": ""}, "start this script with sbatch"),
        (["run", CONFIG], {"PATH": "/usr/bin:/bin"}, "no ray on PATH: activate its environment"),
    ],
)
def test_a_slurm_job_that_cannot_run_says_so_in_one_line(tmp_path, arguments, environment, said):
    process = batch(tmp_path, *arguments, **environment)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (1, 2)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob(".ray-token-*"))


def test_a_slurm_job_whose_nodes_do_not_start_fails(tmp_path):
    process = batch(tmp_path, "run", CONFIG, srun="#!/bin/bash\nexit 1\n")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Ray did not start" in err
    assert not list(tmp_path.glob(".ray-token-*"))


def token_of(cwd: Path, process: subprocess.Popen[str]) -> Path:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for file in cwd.glob(".ray-token-*"):
            if file.stat().st_size:
                return file
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
    process = batch(tmp_path, "run", CONFIG, *small, "--json", RAY_TMPDIR=ray_directory)
    token = token_of(tmp_path, process)
    assert token.stat().st_mode & 0o777 == 0o600

    port = 20000 + os.getpid() % 10000
    assert accepts(port, START_SECONDS)
    (tmp_path / "wrong").write_text("0" * 64)
    nowhere = str(tmp_path / "home")
    for stranger in (
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")},
        {"RAY_AUTH_MODE": "disabled", "HOME": nowhere},
    ):
        log = tmp_path / "client.log"
        assert refused(f"127.0.0.1:{port}", log, RAY_TMPDIR=ray_directory, **stranger), log.read_text()

    out, err = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 0, err
    summary = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    assert (summary["problems"], summary["failed"]) == (2, 0)
    assert len(re.findall(r" up on \S+ .*after ", err)) == 2
    assert not left_behind(str(tmp_path))
    assert not list(tmp_path.glob(".ray-token-*"))


# -- MLflow --------------------------------------------------------------------------------------------


def test_the_mlflow_server_is_of_our_version_and_takes_its_secrets_from_outside():
    compose = yaml.safe_load(text("mlflow-compose.yaml"))
    server, database = compose["services"]["mlflow"], compose["services"]["postgres"]
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (pinned,) = [line for line in required if line.startswith("mlflow==")]
    steps = server["build"]["dockerfile_inline"]
    assert pinned.replace("mlflow", "mlflow[auth]") in steps
    uris = [server["environment"]["MLFLOW_BACKEND_STORE_URI"], compose["configs"]["accounts"]["content"]]
    assert all("postgresql+psycopg://mlflow:${POSTGRES_PASSWORD}@postgres/mlflow" in uri for uri in uris)
    assert "psycopg[binary]" in steps, "the driver that the addresses name"
    assert "--app-name=basic-auth" in server["command"]
    asked = set(re.findall(r"\$\{(\w+):\?", text("mlflow-compose.yaml")))
    assert asked == {"POSTGRES_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY"}
    usage = text("mlflow-compose.yaml").partition("name:")[0]
    assert all(f"{name}=" in usage for name in asked)
    assert "ports" not in database, "it is reached by the server alone"
