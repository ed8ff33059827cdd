"""A search as an MLflow trace: the tree as spans, in the run's Traces tab, also when it is written twice."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow import MlflowClient

from actors.messages import Result, SampleResult, ScoreResult
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.runs.trace import MOST_CHARACTERS, MOST_SPANS, trace_of
from orchestrator.search.context import Usage
from orchestrator.search.distinct import name_of
from orchestrator.tracking import traces
from orchestrator.tracking.tracker import Tracker, local_uri, replay

PATHS = ("0", "1", "0.0", "0.10", "0.2", "0.0.0")


BEGAN = 1_700_000_000.0


def searched(
    paths: tuple[str, ...] = PATHS, error: str | None = None, tokens: int = 3, timed: bool = True
) -> dict:
    """Each step takes a second of sampling and half a second of scoring after its parent's. The first was
    lost with two replicas."""
    recorded: dict[str, tuple[Result, int]] = {}
    times: dict[str, list[object]] = {}
    for path in paths:
        sampled = SampleResult("", (1,) * tokens, "step", tokens, "generator-0")
        recorded[f"p/0/sample/{path}"] = sampled, 30
        recorded[f"p/0/score/{path}"] = ScoreResult("", (0.5,), 3, "verifier-0"), 40
        sent = 1500 * path.count(".")
        times[f"sample/{path}"] = [sent, 1000, 10, *([["generator-1", "generator-2"]] if path == "0" else [])]
        times[f"score/{path}"] = [sent + 1000, 500]
    problem, usage = Problem("p/0", "1+1=", "2"), Usage(generator_flops=10, verifier_flops=5)
    solution = Solution("0.0.0", "xxx", 3, "2", True, 0.5, (0.5,), "end")
    result = SearchResult(problem, (solution,), {"majority": "2"}, {"majority": True}, usage, error=error)
    lines = [json.dumps(["p/0", BEGAN, times]).encode()] if timed else []
    return trace_of(result, recorded, lambda tokens: "x" * len(tokens), lines, BEGAN)


def test_spans_are_the_tree_parents_first_and_each_has_its_own_time():
    root, *spans = searched()["spans"]
    by_id = {span["id"]: span for span in [root, *spans]}
    order = ("0", "0.0", "0.0.0", "0.2", "0.10", "1")
    became = dict.fromkeys(order, "pruned")
    became |= {"0": "kept", "0.0": "kept", "0.0.0": "right answer"}
    assert [span["name"] for span in spans] == [
        name for path in order for name in (f"{became[path]} {path}", "score 0.500")
    ]
    for index, span in enumerate(spans):
        parent = by_id[span["parent"]]
        kind, path = span["details"]["operation"], span["details"]["path"]
        above = path if kind == "score" else path.rpartition(".")[0]
        assert parent["name"] == (f"{became[above]} {above}" if above else "p/0")
        assert parent in [root, *spans[:index]]
        depth = 1500 * path.count(".")
        assert (span["start"], span["end"]) == (
            (depth, depth + 1000) if kind == "sample" else (depth + 1000, depth + 1500)
        )
        assert span["type"] == ("LLM" if kind == "sample" else "EVALUATOR")
    assert (root["start"], root["end"]) == (0, 4500)
    assert root["details"]["operations"] == 12


def test_an_operation_tells_how_often_it_was_done_again_and_what_was_lost_with_it():
    root, first, *others = searched()["spans"]
    told = first["details"]
    assert (told["retries"], told["lost_with"]) == (2, ["generator-1", "generator-2"])
    assert (told["replica"], told["waited_ms"]) == ("generator-0", 10)
    assert root["details"]["retries"] == 2
    assert all(span["details"]["retries"] == 0 and "lost_with" not in span["details"] for span in others)
    untimed = searched(timed=False)["spans"]
    assert not any("retries" in span["details"] for span in untimed[1:]), "it is not known"


def test_operations_that_the_journal_gave_back_say_that_their_time_is_not_known():
    trace = searched(timed=False)
    assert all(span["start"] == span["end"] == 0 for span in trace["spans"])
    assert all("not known" in span["details"]["time"] for span in trace["spans"][1:])
    assert trace["ms"] == 1000 * BEGAN


def test_what_was_scored_and_not_sampled_hangs_on_what_was():
    trace = searched(())
    assert len(trace["spans"]) == 1
    many = searched(tuple(str(i) for i in range(MOST_SPANS)))
    assert len(many["spans"]) == MOST_SPANS + 1
    assert many["spans"][0]["details"]["operations"] == 2 * MOST_SPANS
    assert many["spans"][0]["details"]["operations_left_out"] == MOST_SPANS


def test_of_a_long_text_a_trace_has_the_two_ends():
    _, span, _ = searched(("0",), tokens=10 * MOST_CHARACTERS)["spans"]
    half = "x" * (MOST_CHARACTERS // 2)
    assert span["outputs"] == f"{half} … {half}"
    assert span["details"]["tokens"] == 10 * MOST_CHARACTERS


def test_a_trace_is_in_its_runs_traces_once(tmp_path: Path):
    tracker = Tracker(tmp_path, "r", "e", {})
    made = [searched(), searched(("0",), error="ValueError: no")]
    for trace in made:
        tracker.trace(trace)
    assert tracker.close() is None
    (tmp_path / "r" / "tracking.done").unlink()
    (again,) = replay(tmp_path)
    assert (again.left, again.refused) == (0, ())

    client = MlflowClient(local_uri(tmp_path))
    where = client.get_experiment_by_name("e").experiment_id
    found = client.search_traces(locations=[where], run_id=tracker.mlflow_run_id)
    assert sorted(each.info.trace_id for each in found) == sorted(trace["id"] for trace in made)
    whole = client.get_trace(made[0]["id"])
    assert whole.info.state == "OK"
    assert client.get_trace(made[1]["id"]).info.state == "ERROR"
    assert {one.name: one.value for one in whole.info.assessments} == {"expected": "2", "majority": True}
    assert len(whole.info.assessments) == 2
    assert (whole.info.request_preview, whole.info.response_preview) == ("1+1=", "2")
    (of_rule,) = [one for one in whole.info.assessments if one.name == "majority"]
    assert of_rule.rationale == "selected: 2"
    spans = {span.name: span for span in whole.data.spans}
    assert len(whole.data.spans) == 13
    assert spans["p/0"].outputs == {"selected": {"majority": "2"}, "correct": {"majority": True}}
    assert spans["kept 0"].inputs == {"continued": "1+1="}
    assert spans["kept 0.0"].inputs == {"continued": spans["kept 0"].outputs}
    assert spans["score 0.500"].inputs["scored"] in [span.outputs for span in spans.values()]
    assert spans["kept 0.0"].outputs == "xxx"
    assert spans["kept 0.0"].parent_id == spans["kept 0"].span_id
    assert spans["score 0.500"].get_attribute("flops") == 40
    assert spans["kept 0"].get_attribute("lost_with") == ["generator-1", "generator-2"]
    assert spans["p/0"].start_time_ns == made[0]["ms"] * 1_000_000


def test_the_score_that_equal_paths_share_hangs_on_the_first_of_them():
    def sampled(path: str, tokens: tuple[int, ...]) -> tuple[str, tuple[Result, int]]:
        return f"p/0/sample/{path}", (SampleResult("", tokens, "step", 3, "generator-0"), 30)

    def scored(name: str) -> tuple[str, tuple[Result, int]]:
        return f"p/0/score/{name}", (ScoreResult("", (0.5,), 3, "verifier-0"), 40)

    recorded = dict(
        [
            scored(name_of("", "step", "step", (7, 8))),
            scored(name_of("1", "step", "step", (9,))),
            sampled("10", (7, 8)),
            sampled("2", (7, 8)),
            sampled("1", (5,)),
            sampled("1.3", (9,)),
            sampled("1.4", (9,)),
            scored("1"),
        ]
    )
    result = SearchResult(Problem("p/0", "1+1=", "2"), (), {"majority": "2"}, {"majority": True}, Usage())
    root, *spans = trace_of(result, recorded, lambda tokens: "x" * len(tokens), [], BEGAN)["spans"]
    names = {span["id"]: span["name"] for span in [root, *spans]}
    assert [(span["name"], names[span["parent"]]) for span in spans] == [
        ("pruned 1", "p/0"),
        ("score 0.500", "pruned 1"),
        ("pruned 1.3", "pruned 1"),
        ("score 0.500", "pruned 1.3"),
        ("copy of 3: 1.4", "pruned 1"),
        ("pruned 2", "p/0"),
        ("score 0.500", "pruned 2"),
        ("copy of 2: 10", "p/0"),
    ]


def test_a_score_of_several_inputs_is_that_of_its_path():
    recorded: dict[str, tuple[Result, int]] = {
        "p/0/sample/1": (SampleResult("", (1,), "step", 3, "generator-0"), 30),
        "p/0/score/1/0": (ScoreResult("", (0.5,), 3, "verifier-0"), 40),
        "p/0/score/1/1": (ScoreResult("", (0.6,), 3, "verifier-0"), 40),
    }
    result = SearchResult(Problem("p/0", "1+1=", "2"), (), {"majority": "2"}, {"majority": True}, Usage())
    _, *spans = trace_of(result, recorded, lambda tokens: "x" * len(tokens), [], BEGAN)["spans"]
    assert [span["name"] for span in spans] == ["pruned 1", "score 0.500", "score 0.600"]


def test_the_list_of_traces_says_what_was_selected():
    assert traces._answers({"majority": "2", "weighted": "2"}) == "2"
    assert traces._answers({"majority": None, "weighted": "2"}) == "majority: no answer; weighted: 2"
    assert traces._answers({}) == ""


def test_a_long_answer_is_cut_in_the_list_of_traces():
    trace = searched()
    root = trace["spans"][0]
    root["details"]["expected"] = root["outputs"]["selected"]["majority"] = "9" * 100_000
    expected, of_rule = traces._assessments(trace, root)
    assert len(expected.value) == len(of_rule.rationale) == traces.LONGEST_PREVIEW


def test_half_a_character_of_an_answer_does_not_keep_its_trace_from_the_store(tmp_path: Path):
    trace = searched()
    root = trace["spans"][0]
    root["outputs"]["selected"]["majority"] = root["inputs"]["prompt"] = "half \ud800"
    tracker = Tracker(tmp_path, "r", "e", {})
    tracker.trace(trace)
    assert tracker.close() is None
    client = MlflowClient(local_uri(tmp_path))
    assert client.get_trace(trace["id"]).info.response_preview == "half ?"
