"""What KubeRay's operator (1.7) reads of a RayCluster and a RayJob, as JSON schema: the fields of its API
reference that these manifests use, and their neighbours. Like the API server's, nothing else is allowed."""

from __future__ import annotations

from typing import Any


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


_TEXT, _FLAG, _COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
_WORDS = {"type": "object", "additionalProperties": _TEXT}
_POD = {"type": "object"}  # Kubernetes' own schema checks it
_METADATA = _object(name=_TEXT, generateName=_TEXT, namespace=_TEXT, labels=_WORDS, annotations=_WORDS)

_HEAD = _object(
    ("rayStartParams", "template"),
    rayStartParams=_WORDS,
    template=_POD,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    enableIngress=_FLAG,
    labels=_WORDS,
)
_WORKERS = _object(
    ("groupName", "maxReplicas", "minReplicas", "rayStartParams", "template"),
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts=_COUNT,
    idleTimeoutSeconds=_COUNT,
    suspend=_FLAG,
    rayStartParams=_WORDS,
    template=_POD,
    labels=_WORDS,
)
_CLUSTER = _object(
    ("headGroupSpec",),
    rayVersion=_TEXT,
    authOptions=_object(mode={"enum": ["disabled", "token"]}, secretName=_TEXT, enableK8sTokenAuth=_FLAG),
    enableInTreeAutoscaling=_FLAG,
    autoscalerOptions=_object(
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=_COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        image=_TEXT,
        imagePullPolicy=_TEXT,
    ),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
    suspend=_FLAG,
)
_JOB = _object(
    ("entrypoint",),
    entrypoint=_TEXT,
    clusterSelector=_WORDS,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    runtimeEnvYAML=_TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    backoffLimit=_COUNT,
    activeDeadlineSeconds=_COUNT,
    ttlSecondsAfterFinished=_COUNT,
    shutdownAfterJobFinishes=_FLAG,
    rayClusterSpec=_CLUSTER,
)

SCHEMAS = {
    kind: _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )
    for kind, spec in (("RayCluster", _CLUSTER), ("RayJob", _JOB))
}
