"""KubeRay's own schemas of a RayCluster and a RayJob, and what its operator (1.7) refuses beyond them.

``kuberay.json`` is made from the definitions that KubeRay publishes, without descriptions and without what is
Kubernetes' own (pods, network policies): ``kubernetes_validate`` checks that. To make it anew, from a
directory with the files of ``helm-chart/kuberay-operator/crds`` of KubeRay's repository:

    python -m tests.support.kuberay DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

STORED = Path(__file__).with_name("kuberay.json")
KINDS = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}

_FOREIGN = {
    "template",
    "submitterPodTemplate",
    "networkPolicy",
    "headService",
    "historyServerOptions",
    "gcsFaultToleranceOptions",
    "ingressOptions",
    "env",
    "envFrom",
    "volumeMounts",
}


def _kept(schema: Any) -> Any:
    """A schema without descriptions that refuses, as the API server does, a field that it does not name."""
    if isinstance(schema, list):
        return [_kept(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _kept(value)
        for key, value in schema.items()
        if key not in ("description", "default", "properties") and not key.startswith("x-kubernetes")
    }
    if isinstance(properties := schema.get("properties"), dict):
        kept["properties"] = {
            name: {"type": of.get("type", "object")} if name in _FOREIGN else _kept(of)
            for name, of in properties.items()
            if name != "status"
        }
        kept["additionalProperties"] = False
    if "x-kubernetes-int-or-string" in schema:
        kept = {"type": ["integer", "string"]}
    return kept


def _made_from(directory: Path) -> dict[str, Any]:
    schemas = {}
    for kind, name in KINDS.items():
        definition = yaml.load((directory / name).read_text(), yaml.CSafeLoader)
        (version,) = [of for of in definition["spec"]["versions"] if of["name"] == "v1"]
        schema = _kept(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        schemas[kind] = schema
    cluster = schemas["RayCluster"]["properties"]["spec"]
    own = schemas["RayJob"]["properties"]["spec"]["properties"]
    assert own["rayClusterSpec"] == cluster
    own["rayClusterSpec"] = {}  # the same once more: see SCHEMAS
    return schemas


def _read() -> dict[str, Any]:
    schemas = json.loads(STORED.read_text())
    own = schemas["RayJob"]["properties"]["spec"]["properties"]
    own["rayClusterSpec"] = schemas["RayCluster"]["properties"]["spec"]
    return schemas


SCHEMAS: dict[str, Any] = _read() if STORED.exists() else {}


def refused_cluster(spec: dict[str, Any]) -> list[str]:
    """What the operator's validation says against a cluster that fits its schema."""
    groups = [("head", spec["headGroupSpec"])]
    groups += [(group["groupName"], group) for group in spec["workerGroupSpecs"]]
    said = []
    for name, group in groups:
        started = {"num-cpus", "num-gpus", "memory", "resources"} & group["rayStartParams"].keys()
        if started and group.get("resources"):
            said.append(f"{name}: resources both in rayStartParams and in resources")
        if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            said.append(f"{name}: a restartPolicy beside autoscaler v2")
    if "networkPolicy" in spec:
        said.append("networkPolicy needs a feature gate")
    return said


def refused_job(spec: dict[str, Any]) -> list[str]:
    """What the operator's validation says against a job that fits its schema."""
    said = []
    if ("rayClusterSpec" in spec) == ("clusterSelector" in spec):
        said.append("one of rayClusterSpec and clusterSelector")
    if "clusterSelector" in spec and spec.get("backoffLimit", 0) > 0:
        said.append("backoffLimit beside clusterSelector")
    if spec.get("ttlSecondsAfterFinished", 0) and not spec.get("shutdownAfterJobFinishes"):
        said.append("ttlSecondsAfterFinished without shutdownAfterJobFinishes")
    if spec.get("submissionMode") == "SidecarMode" and "submitterPodTemplate" in spec:
        said.append("submitterPodTemplate in SidecarMode")
    return said + (refused_cluster(spec["rayClusterSpec"]) if "rayClusterSpec" in spec else [])


if __name__ == "__main__":
    STORED.write_text(json.dumps(_made_from(Path(sys.argv[1])), indent=1) + "\n")
