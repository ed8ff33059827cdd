"""cluster/kubernetes, as far as one machine can tell: the manifests fit KubeRay's and Kubernetes' schemas
and the rules beyond them; Ray's autoscaler understands the groups; a job that is tried again goes on with its
run."""

from __future__ import annotations

import copy
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from orchestrator.commands.cli import _parsed
from orchestrator.config.loading import load
from tests.support.kuberay import SCHEMAS, refused_cluster, refused_job
from tests.support.kustomize import built, documents
from tests.support.paths import LAB_CONFIG, ROOT

ROOM = ROOT / "cluster" / "kubernetes"
AGAIN = ROOT / "cluster" / "run-or-resume"
README = (ROOM / "README.md").read_text()
NEWEST = kubernetes_validate.latest_version()


BUILT = {name: built(ROOM / name) for name in ("cluster", "run")}


def shared() -> dict[str, Any]:
    return copy.deepcopy(BUILT["cluster"])


def run() -> dict[str, Any]:
    return copy.deepcopy(BUILT["run"])


def cluster() -> dict[str, Any]:
    return shared()["RayCluster"]["spec"]


def groups() -> list[dict[str, Any]]:
    return [cluster()["headGroupSpec"], *cluster()["workerGroupSpecs"]]


def templates() -> dict[str, dict[str, Any]]:
    """Every pod, by its container's name and place."""
    submitter = run()["RayJob"]["spec"]["submitterPodTemplate"]
    named = {group.get("groupName", "head"): group["template"] for group in groups()}
    return {**named, "submitter": submitter}


# -- The schemas ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", BUILT)
@pytest.mark.skipif(not shutil.which("kubectl"), reason="compares with kubectl, which is not here")
def test_kubectl_makes_the_same_of_the_directories(directory):
    made = subprocess.run(
        ["kubectl", "kustomize", ROOM / directory], check=True, capture_output=True, text=True
    )
    assert {of["kind"]: of for of in yaml.safe_load_all(made.stdout)} == BUILT[directory]


def test_a_run_is_a_job_with_a_cluster_like_the_shared_one():
    assert set(shared()) == {"RayCluster", "NetworkPolicy"}
    assert set(run()) == {"RayJob", "ConfigMap", "NetworkPolicy"}
    assert run()["RayJob"]["spec"]["rayClusterSpec"] == cluster()


@pytest.mark.parametrize("manifest", [shared()["RayCluster"], run()["RayJob"]], ids=lambda of: of["kind"])
def test_the_manifests_have_the_fields_that_the_operator_reads_and_no_other(manifest):
    schema = SCHEMAS[manifest["kind"]]
    jsonschema.validate(manifest, schema)
    spoilt = copy.deepcopy(manifest)
    spoilt["spec"]["entrypiont"] = "ttc"
    with pytest.raises(jsonschema.ValidationError, match="entrypiont"):
        jsonschema.validate(spoilt, schema)


def test_the_operator_refuses_nothing_of_them():
    assert refused_cluster(cluster()) == []
    assert refused_job(run()["RayJob"]["spec"]) == []
    # What the README says of a job on the shared cluster.
    spec = run()["RayJob"]["spec"]
    del spec["rayClusterSpec"]
    assert refused_job({**spec, "clusterSelector": {"ray.io/cluster": "ttc"}}) == [
        "backoffLimit beside clusterSelector"
    ]
    spec = cluster()
    spec["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] = "1"
    assert refused_cluster(spec) == ["generators: resources both in rayStartParams and in resources"]


def test_pods_disks_and_the_policy_are_what_kubernetes_takes():
    disks = documents(ROOM / "storage.yaml")
    assert {disk["kind"] for disk in disks} == {"PersistentVolumeClaim"}
    for manifest in (*disks, shared()["NetworkPolicy"], run()["ConfigMap"]):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)
    for template in templates().values():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": template}
        kubernetes_validate.validate(pod, NEWEST, strict=True)
        del template["spec"]["containers"][0]["name"]
        with pytest.raises(kubernetes_validate.ValidationError, match="'name' is a required property"):
            kubernetes_validate.validate(pod, NEWEST, strict=True)


# -- The pods ------------------------------------------------------------------------------------------

ALLOWED_VOLUMES = {"configMap", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def against_restricted(spec: dict[str, Any], added: list[dict[str, Any]] = ()) -> list[str]:
    """What the Pod Security Standard "restricted" has against a pod, and containers that an operator adds."""
    said, pod = [], spec.get("securityContext", {})
    if any(spec.get(of) for of in ("hostNetwork", "hostPID", "hostIPC")):
        said.append("a namespace of the host")
    for volume in spec.get("volumes", ()):
        if not (volume.keys() - {"name"}) <= ALLOWED_VOLUMES:
            said.append(f"volume {volume['name']}")
    for container in [*spec["containers"], *spec.get("initContainers", ()), *added]:
        own = container.get("securityContext", {})
        both = {**pod, **own}
        checks = {
            "runAsNonRoot": both.get("runAsNonRoot") is True and both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities", {}).get("drop") == ["ALL"]
            and set(own["capabilities"].get("add", ())) <= {"NET_BIND_SERVICE"},
            "privileged": not own.get("privileged"),
            "ports of the host": not any(port.get("hostPort") for port in container.get("ports", ())),
        }
        said += [f"{container['name']}: {name}" for name, held in checks.items() if not held]
    return said


@pytest.mark.parametrize("name", templates())
def test_every_pod_passes_restricted(name):
    spec = templates()[name]["spec"]
    (own,) = spec["containers"]
    # Those that KubeRay adds: it copies the Ray container's context to the one that waits for the head.
    added = [{"name": "wait-gcs-ready", "securityContext": own["securityContext"]}]
    if name == "head":
        options = cluster()["autoscalerOptions"]
        added = [{"name": "autoscaler", "securityContext": options["securityContext"]}]
    assert against_restricted(spec, added) == []
    for spoilt in ("runAsNonRoot", "seccompProfile"):
        less = copy.deepcopy(spec)
        del less["securityContext"][spoilt]
        assert against_restricted(less) == [f"{own['name']}: {spoilt}"]
    less = copy.deepcopy(spec)
    less["containers"][0]["securityContext"] = {}
    less["volumes"] = [{"name": "host", "hostPath": {"path": "/"}}]
    assert len(against_restricted(less)) == 3


def test_pods_have_the_models_their_token_the_registry_and_room():
    for name, template in templates().items():
        (container,) = template["spec"]["containers"]
        assert template["spec"]["imagePullSecrets"] == [{"name": "ttc-registry"}]
        asked = container["resources"]
        assert "ephemeral-storage" in asked["requests"]
        if name == "submitter":
            continue
        assert asked["requests"] == asked["limits"], "a pod holds what Ray believes that it has"
        (token,) = [of for of in container["env"] if of["name"] == "HF_TOKEN"]
        secret = token["valueFrom"]["secretKeyRef"]
        assert secret.pop("optional") is True
        assert f"create secret generic {secret['name']} --from-literal={secret['key']}=" in README
        (cache,) = [of["value"] for of in container["env"] if of["name"] == "HF_HOME"]
        (mount,) = [of for of in container["volumeMounts"] if of["mountPath"] == cache]
        (volume,) = [of for of in template["spec"]["volumes"] if of["name"] == mount["name"]]
        claims = {claim["metadata"]["name"]: claim["spec"] for claim in documents(ROOM / "storage.yaml")}
        claim = claims[volume["persistentVolumeClaim"]["claimName"]]
        assert claim["accessModes"] == ["ReadWriteMany"], "all nodes have the models"


def test_only_pods_with_gpus_go_to_nodes_with_gpus():
    for template in templates().values():
        spec = template["spec"]
        (container,) = spec["containers"]
        gpus = int(container["resources"]["limits"].get("nvidia.com/gpu", 0))
        assert container["image"] == f"REGISTRY/ttc:{'gpu' if gpus else 'cpu'}"
        tolerated = [(of["key"], of["effect"]) for of in spec.get("tolerations", ())]
        assert tolerated == ([("nvidia.com/gpu", "NoSchedule")] if gpus else [])
        assert bool(spec.get("nodeSelector")) == bool(gpus)


def test_rays_autoscaler_understands_the_groups_and_their_room():
    """By Ray's own reading: no replica on the head; a pod holds the replica that the file says."""
    manifest = shared()["RayCluster"]
    manifest["metadata"]["namespace"] = "default"
    types = _derive_autoscaling_config_from_ray_cr(manifest)["available_node_types"]
    room = {name: {**of["resources"]} for name, of in types.items()}
    for resources in room.values():
        resources.pop("memory")
    assert room == {
        "headgroup": {"CPU": 0},
        "generators": {"CPU": 1, "GPU": 1},
        "generators-four": {"CPU": 1, "GPU": 4, "four-gpus": 1},
        "verifiers": {"CPU": 8},
    }
    for group in cluster()["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert int(limits.get("nvidia.com/gpu", 0)) == room[group["groupName"]].get("GPU", 0)
        seconds = {of["name"]: of.get("value") for of in container["env"]}
        grace = group["template"]["spec"]["terminationGracePeriodSeconds"]
        assert int(seconds["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) < grace


def test_the_replicas_that_the_file_names_fit_its_groups():
    said = re.sub(r"\s*\n\s*#\s*", " ", (ROOM / "cluster" / "ray-cluster.yaml").read_text())
    named = [yaml.safe_load(of) for of in re.findall(r"(?:generator|verifier)\.resources=(\{.*?\}+)", said)]
    assert len(named) == 3
    for group, resources in zip(cluster()["workerGroupSpecs"], named, strict=True):
        held = {name: int(of) for name, of in group["resources"].items()}
        asked = {"CPU": resources["num_cpus"], **resources.get("custom", {})}
        if "num_gpus" in resources:
            asked["GPU"] = resources["num_gpus"]
        assert asked == held


# -- Who reaches it ------------------------------------------------------------------------------------


def test_the_cluster_asks_for_the_token_and_is_not_reached_from_outside():
    assert cluster()["authOptions"]["mode"] == "token"
    secret = cluster()["authOptions"]["secretName"]
    assert f"kubectl create secret generic {secret} --from-literal=auth_token=" in README
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"ray[default]=={cluster()['rayVersion']}" in required, "the operator is told what the image holds"
    head = cluster()["headGroupSpec"]
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    assert not any("ports" in of["spec"]["containers"][0] for of in templates().values())


def test_the_policy_is_for_all_pods_and_lets_in_the_cluster_and_clients_of_the_namespace():
    policy = shared()["NetworkPolicy"]["spec"]
    ours = policy["podSelector"]["matchLabels"]
    for template in templates().values():
        assert template["metadata"]["labels"].items() >= ours.items()
    assert policy["policyTypes"] == ["Ingress"]
    ports = {}
    for rule in policy["ingress"]:
        (peer,) = rule["from"]
        (label,) = peer["podSelector"]["matchLabels"].items()
        where = "anywhere" if peer.get("namespaceSelector") == {} else "here"
        ports[where, *label] = [of["port"] for of in rule.get("ports", ())]
    (own,) = ours.items()
    name = "app.kubernetes.io/name"
    assert ports == {
        ("here", *own): [],  # all
        ("here", "ttc-client", "true"): [6379, 8265, 10001],
        ("anywhere", name, "kuberay-operator"): [8265],
        ("anywhere", name, "prometheus"): [8080],
    }


# -- The job -------------------------------------------------------------------------------------------


def test_the_job_ends_is_tried_again_and_leaves_nothing():
    spec = run()["RayJob"]["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["submitterConfig"]["backoffLimit"] > 0
    assert spec["activeDeadlineSeconds"] > 3600
    assert spec["shutdownAfterJobFinishes"]
    assert spec["ttlSecondsAfterFinished"] > 0


STAND_IN = '#!/bin/sh\nprintf "%s\\n" "$@" > asked\n[ "$1" = resume ] || cat "$2" > read\nexit 3\n'


def called(cwd: Path, *words: str) -> tuple[int, list[str], str]:
    """run-or-resume with a stand-in for ttc: its status, what ttc was asked, and what was said."""
    (cwd / "bin").mkdir(exist_ok=True)
    ttc = cwd / "bin" / "ttc"
    ttc.write_text(STAND_IN)
    ttc.chmod(0o755)
    environment = {**os.environ, "PATH": f"{cwd / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([AGAIN, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    asked = (cwd / "asked").read_text().splitlines() if (cwd / "asked").exists() else []
    return done.returncode, asked, done.stderr


def test_a_job_that_is_tried_again_goes_on_with_its_run(tmp_path):
    runs, config = tmp_path / "my runs", tmp_path / "my.yaml"
    config.write_text("name: my-run\n")
    words = (str(runs), str(config), "cluster.address=auto")
    status, asked, _ = called(tmp_path, *words)
    assert (status, asked) == (3, ["run", str(config), "cluster.address=auto", f"runs={runs}"])
    (runs / "my-run-1").mkdir(parents=True)
    assert called(tmp_path, *words)[1][0] == "run", "a start that left no configuration has begun nothing"
    (runs / "my-run-1" / "config.yaml").write_text("")
    status, asked, _ = called(tmp_path, *words)
    assert (status, asked) == (3, ["resume", "my-run-1", "--runs", str(runs)])
    for words in (["run", "x.yaml", "a=1", f"runs={runs}"], asked):
        _parsed(words)  # the real one takes them


def test_a_directory_of_several_runs_and_too_few_words_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
    status, asked, said = called(tmp_path, str(tmp_path), "my.yaml")
    assert (status, asked, said.count("\n")) == (2, [], 1)
    assert "more than one run" in said
    assert called(tmp_path, str(tmp_path))[0] == 2


def test_a_file_that_names_a_run_is_followed_and_one_that_names_none_is_refused(tmp_path):
    runs, file = tmp_path / " it's $(my) runs", tmp_path / "the run"
    words = ("--named", str(file), "my.yaml", "a=1", "--json")
    (tmp_path / "my.yaml").touch()
    assert called(tmp_path, *words)[:2] == (3, ["run", "my.yaml", "a=1", "--json"]), "none is begun"
    (runs / "r-1").mkdir(parents=True)
    (runs / "r-1" / "config.yaml").touch()
    for end in ("\n", ""):
        file.write_text(f"r-1\n{runs}{end}")
        assert called(tmp_path, *words)[:2] == (3, ["resume", "r-1", "--runs", str(runs), "--json"])
    (tmp_path / "asked").unlink()
    for text in ("", "r-1\n", "r-1", "\n\n"):
        file.write_text(text)
        status, asked, said = called(tmp_path, *words)
        assert (status, asked, said.count("\n"), "two lines" in said) == (2, [], 1, True), (text, said)
    status, _, said = called(tmp_path, "--named", str(tmp_path), "my.yaml")
    assert (status, said.count("\n"), "two lines" in said) == (2, 1, True)


def test_the_job_is_a_run_that_ttc_accepts_and_whose_results_outlive_the_pod(tmp_path):
    manifest = run()["RayJob"]
    # Two shells read it, one of them in another pod: nothing in it may mean something to a shell.
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words == manifest["spec"]["entrypoint"].split()
    assert words[0] == AGAIN.name
    assert AGAIN.stat().st_mode & stat.S_IXOTH
    runs, given, *overrides = words[1:]
    assert Path(runs).name == manifest["metadata"]["name"], "two runs do not share a directory"
    head = cluster()["headGroupSpec"]["template"]["spec"]
    mounts = {of["name"]: of["mountPath"] for of in head["containers"][0]["volumeMounts"]}
    assert Path(runs).is_relative_to(mounts["data"])
    (volume,) = [of for of in head["volumes"] if of["name"] == "config"]
    made = run()["ConfigMap"]
    assert volume["configMap"]["name"] == made["metadata"]["name"]
    assert Path(given).relative_to(mounts["config"]).name in made["data"]
    assert load(LAB_CONFIG, overrides).cluster.address == "auto"


def test_the_example_is_a_run_of_the_images_own_configurations(tmp_path):
    (text,) = run()["ConfigMap"]["data"].values()
    (base,) = re.findall(r"^base: /ttc/(.*)$", text, re.MULTILINE)
    file = tmp_path / "my.yaml"
    file.write_text(text.replace(f"/ttc/{base}", str(ROOT / base)))
    config = load(str(file), [])
    assert config.generator.resources.num_gpus == 1
    assert config.tracking.uri
