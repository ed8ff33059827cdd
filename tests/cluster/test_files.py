"""The files in cluster/, as far as one machine can tell: each is valid for what reads it, and the Slurm
script really runs, with two Ray nodes on this machine."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.commands.cli import _parsed
from orchestrator.config.loading import load
from tests.support.kuberay import SCHEMAS
from tests.support.paths import LAB_CONFIG, ROOT

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
    import jsonschema

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
    for directory in ("orchestrator/runs", "runs/lab-1", ".venv/bin", ".git"):
        (here / directory).mkdir(parents=True)
        (here / directory / "file").touch()
    excluded = [word for pattern in launcher["rsync_exclude"] for word in ("--exclude", pattern)]
    subprocess.run(["rsync", "-a", *excluded, f"{here}/", f"{there}/"], check=True)
    copied = [str(file.relative_to(there)) for file in there.rglob("file")]
    assert copied == ["orchestrator/runs/file"]


# -- KubeRay -------------------------------------------------------------------------------------------


def manifests() -> dict[str, dict]:
    files = sorted(CLUSTER.glob("kuberay-*.yaml"))
    return {manifest["kind"]: manifest for file in files for manifest in yaml.safe_load_all(file.open())}


def containers(cluster: dict) -> list[dict]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_the_manifests_are_of_the_kinds_that_the_operator_knows():
    found = {kind: manifest["apiVersion"] for kind, manifest in manifests().items()}
    assert found == {"PersistentVolumeClaim": "v1", "RayCluster": "ray.io/v1", "RayJob": "ray.io/v1"}


def test_the_manifests_have_the_fields_that_the_operator_reads_and_no_other():
    for kind, schema in SCHEMAS.items():
        jsonschema.validate(manifests()[kind], schema)
        spoilt = copy.deepcopy(manifests()[kind])
        spoilt["spec"]["entrypiont"] = "ttc"
        with pytest.raises(jsonschema.ValidationError, match="entrypiont"):
            jsonschema.validate(spoilt, schema)


def test_the_pods_and_the_disk_are_what_kubernetes_takes():
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifests()["PersistentVolumeClaim"], newest, strict=True)
    cluster = manifests()["RayCluster"]["spec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": group["template"]}
        kubernetes_validate.validate(pod, newest, strict=True)
        del group["template"]["spec"]["containers"][0]["name"]
        with pytest.raises(kubernetes_validate.ValidationError, match="'name' is a required property"):
            kubernetes_validate.validate(pod, newest, strict=True)


def test_the_kubernetes_cluster_asks_for_the_token_and_is_not_reached_from_outside():
    cluster = manifests()["RayCluster"]["spec"]
    assert cluster["authOptions"]["mode"] == "token"
    secret = cluster["authOptions"]["secretName"]
    assert f"kubectl create secret generic {secret} --from-literal=auth_token=" in text(
        "kuberay-cluster.yaml"
    )
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"ray[default]=={cluster['rayVersion']}" in required, "the operator is told what the image holds"
    head = cluster["headGroupSpec"]
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    assert not any("ports" in container for container in containers(cluster))


def test_no_replica_on_the_head_and_room_for_one_in_a_pod_of_each_group():
    cluster = manifests()["RayCluster"]["spec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"]
    room = {}
    for group in cluster["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        held = container["resources"]
        assert held["requests"] == held["limits"], "a pod holds what Ray believes that it has"
        gpus = int(held["limits"].get("nvidia.com/gpu", 0))
        assert container["image"] == f"REGISTRY/ttc:{'gpu' if gpus else 'cpu'}"
        room[group["groupName"]] = (int(group["rayStartParams"].get("num-cpus", held["limits"]["cpu"])), gpus)
    assert room == {"generators": (1, 1), "verifiers": (8, 0)}
    said = text("kuberay-cluster.yaml")
    assert "generator.resources={num_cpus: 1, num_gpus: 1}" in said
    assert "verifier.resources={num_cpus: 8}" in said


def test_the_job_is_a_run_that_ttc_accepts_on_the_cluster_that_is_there(tmp_path):
    manifest, cluster = (manifests()[kind] for kind in ("RayJob", "RayCluster"))
    assert manifest["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    # Two shells read it, one of them in another pod: nothing in it may mean something to a shell.
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words == manifest["spec"]["entrypoint"].split()
    assert words.pop(0) == "ttc"
    options = _parsed(words)
    config = load(CONFIG, options.overrides)
    assert config.cluster.address == "auto"
    (mount,) = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert Path(options.config).is_relative_to(mount["mountPath"])
    assert Path(config.runs).is_relative_to(mount["mountPath"]), "runs outlive the pod"


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


def test_the_image_has_the_pinned_versions():
    steps = text("Dockerfile")
    assert "-c cluster/constraints-gpu.txt" in steps
    assert "make setup" in steps  # which has those of a node without GPUs


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
