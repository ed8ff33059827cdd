"""Writes traces to MLflow, from the files of spans that a run leaves beside its spool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient


def write(client: MlflowClient, run: str, uri: str, path: Path) -> None:
    """Logs the trace in a file to the run. A second call changes nothing: the store merges what it has."""
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.client import TracingClient

    trace = json.loads(path.read_text())
    experiment = client.get_run(run).info.experiment_id
    root = trace["spans"][0]
    info = TraceInfo(
        trace_id=trace["id"],
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=trace["ms"],
        state=TraceState.ERROR if trace["error"] else TraceState.OK,
        request_preview=json.dumps(root["inputs"])[:1000],
        response_preview=json.dumps(root["outputs"])[:1000],
        execution_duration=root["end"],
        trace_metadata={"mlflow.sourceRun": run},
        tags={"mlflow.traceName": root["name"]},
    )
    spans = [Span.from_dict(_span(trace, span)) for span in trace["spans"]]
    tracing = TracingClient(uri)
    tracing.start_trace(info)
    tracing.log_spans(experiment, spans)


def _span(trace: Mapping[str, Any], span: Mapping[str, Any]) -> dict[str, Any]:
    """A span as MLflow reads it: times in nanoseconds since 1970, attributes as JSON."""
    attributes = {
        "mlflow.traceRequestId": trace["id"],
        "mlflow.spanType": span["type"],
        "mlflow.spanInputs": span["inputs"],
        "mlflow.spanOutputs": span["outputs"],
        **span["details"],
    }
    error = trace["error"] if span["parent"] is None else None
    return {
        "trace_id": trace["id"],
        "span_id": span["id"],
        "parent_span_id": span["parent"],
        "name": span["name"],
        "start_time_unix_nano": (trace["ms"] + span["start"]) * 1_000_000,
        "end_time_unix_nano": (trace["ms"] + span["end"]) * 1_000_000,
        "status": {"code": "ERROR" if error else "OK", "message": error or ""},
        "attributes": {key: json.dumps(value) for key, value in attributes.items() if value is not None},
    }
