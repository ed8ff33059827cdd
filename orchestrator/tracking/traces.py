"""Writes traces to MLflow, from the files of spans that a run leaves beside its spool."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Assessment

LONGEST_PREVIEW = 1000
"""Characters of a text in the list of traces."""


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
        request_preview=_preview(root["inputs"]["prompt"]),
        response_preview=_preview(_answers(root["outputs"]["selected"])),
        execution_duration=root["end"],
        trace_metadata={"mlflow.sourceRun": run},
        tags={"mlflow.traceName": root["name"]},
        assessments=_assessments(trace, root),
    )
    spans = [Span.from_dict(_span(trace, span)) for span in trace["spans"]]
    tracing = TracingClient(uri)
    tracing.start_trace(info)
    tracing.log_spans(experiment, spans)


def _preview(text: str) -> str:
    """The beginning of a text, as a store can hold it: half a character is replaced."""
    return text.encode(errors="replace").decode()[:LONGEST_PREVIEW]


def _answers(selected: Mapping[str, str | None]) -> str:
    """What was selected: one answer where all rules agree."""
    if len({*selected.values()}) == 1:
        return _answer(next(iter(selected.values())))
    return "; ".join(f"{rule}: {_answer(answer)}" for rule, answer in selected.items())


def _answer(answer: str | None) -> str:
    return "no answer" if answer is None else answer


def _assessments(trace: Mapping[str, Any], root: Mapping[str, Any]) -> list[Assessment]:
    """The right answer, and by each selection rule whether what it selected is right: columns of the list of
    traces. Each has the same id in a second call."""
    from mlflow.entities import AssessmentSource, Expectation, Feedback

    source, ended = AssessmentSource("CODE", "ttc"), trace["ms"] + root["end"]
    known = {"source": source, "trace_id": trace["id"], "create_time_ms": ended, "last_update_time_ms": ended}
    selected, correct = root["outputs"]["selected"], root["outputs"]["correct"]
    made: list[Assessment] = [Expectation("expected", _preview(root["details"]["expected"]), **known)]
    for rule, right in correct.items():
        chosen = _preview(f"selected: {_answer(selected.get(rule))}")
        made.append(Feedback(rule, right, rationale=chosen, **known))
    for one in made:
        one.assessment_id = f"a-{uuid.uuid5(uuid.NAMESPACE_OID, f'{one.trace_id} {one.name}').hex}"
    return made


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
