"""The files in cluster/, as far as one machine can tell: each is valid for what reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.config.loading import load
from tests.support.paths import LAB_CONFIG, ROOT

CLUSTER = ROOT / "cluster"
CONFIG = str(LAB_CONFIG)


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


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_the_launcher_copies_the_whole_package_and_no_results(launcher, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for directory in (
        "orchestrator/runs",
        "runs/lab-1",
        "build/models",
        ".venv/bin",
        ".venv-gpu/bin",
        ".git",
    ):
        (here / directory).mkdir(parents=True)
        (here / directory / "file").touch()
    excluded = [word for pattern in launcher["rsync_exclude"] for word in ("--exclude", pattern)]
    subprocess.run(["rsync", "-a", *excluded, f"{here}/", f"{there}/"], check=True)
    copied = [str(file.relative_to(there)) for file in there.rglob("file")]
    assert copied == ["orchestrator/runs/file"]


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
