"""Makes the tree of spans of a problem's search, from the journal, when the search is over.

A span is an operation, from when it was sent to when it was answered. The journal keeps no times: those are
read, with the replicas that were lost, from what a run leaves beside it (``runs.times``). An operation of a
search that a run was stopped in has none there, and stands at the beginning of the search.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.messages import Result, SampleResult
from orchestrator.explore.times import Timed, legs_of, times_of
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.search.distinct import SHARED, firsts_of

MOST_SPANS = 1000
"""The most spans of a trace: nobody reads a larger one, and MLflow's page fails on tens of thousands."""
MOST_CHARACTERS = 2000
"""The most characters of a text in a trace; of a longer one it has the two ends."""


def trace_of(
    result: SearchResult,
    recorded: Mapping[str, tuple[Result, int]],
    decode: Callable[[Sequence[int]], str],
    lines: Sequence[bytes],
    ended: float,
) -> dict[str, Any]:
    """Returns the trace of a search: its id and spans, the root first, parents before their children.

    ``recorded`` is the problem's journal, ``lines`` those of its times. ``ended`` is when the search ended,
    in seconds since 1970, where no operation has a time.
    """
    begun = min((began for began, _ in legs_of(lines)), default=ended)
    times = times_of(lines)
    root = _id()
    spans_of = {"": root}  # the span of each node of the tree that was sampled
    texts = {"": _ends(result.problem.prompt)}
    spans: list[dict[str, Any]] = []
    places, firsts = _places(result.problem.id, recorded)
    order = sorted(places, key=lambda key: _order(*places[key]))
    what_of = _what(result.solutions, places, firsts)
    for key in order[:MOST_SPANS]:
        found, flops = recorded[key]
        kind, path = places[key]
        sampled = isinstance(found, SampleResult)
        timed = times.get(key.removeprefix(f"{result.problem.id}/"))
        above = _above(path, spans_of) if sampled or path not in spans_of else path
        span: dict[str, Any] = {
            "id": _id(),
            "parent": spans_of[above],
            "type": "LLM" if sampled else "EVALUATOR",
            "start": timed.sent if timed else 0,
            "end": timed.sent + timed.lasted if timed else 0,
            "inputs": {"continued" if sampled else "scored": texts[above]},
            "details": {
                "operation": kind,
                "path": path,
                "flops": flops,
                "computed_tokens": found.computed_tokens,
                "replica": found.replica,
                **_told(timed),
            },
        }
        if isinstance(found, SampleResult):
            spans_of[path] = str(span["id"])
            texts[path] = _ends(decode(found.tokens))
            span |= {"name": f"{what_of[path]} {path}", "outputs": texts[path]}
            span["details"] |= {"tokens": len(found.tokens), "finish": found.finish}
        else:
            span |= {"name": " ".join(["score", *(f"{score:.3f}" for score in found.scores[-1:])])}
            span |= {"outputs": list(found.scores)}
        spans.append(span)
    return {
        "id": f"tr-{uuid.uuid4().hex}",
        "ms": round(1000 * begun),
        "error": result.error,
        "spans": [
            {
                "id": root,
                "parent": None,
                "type": "CHAIN",
                "name": result.problem.id,
                "start": 0,
                "end": max((timed.sent + timed.lasted for timed in times.values()), default=0),
                "inputs": {"prompt": _ends(result.problem.prompt)},
                "outputs": {"selected": dict(result.selected), "correct": dict(result.correct)},
                "details": {
                    "expected": result.problem.answer,
                    "flops": result.usage.flops,
                    "operations": len(recorded),
                    "operations_left_out": len(order[MOST_SPANS:]),
                    "retries": sum(len(timed.lost) for timed in times.values()),
                    "exhausted": result.exhausted,
                },
            },
            *spans,
        ],
    }


def _what(
    solutions: Sequence[Solution], places: Mapping[str, tuple[str, str]], firsts: Mapping[str, str]
) -> dict[str, str]:
    """Returns what became of each sampled node, in the words that its span's name begins with: the
    explorer's."""
    ends = {solution.path: "right answer" if solution.correct else "wrong answer" for solution in solutions}
    sampled = {path for kind, path in places.values() if kind != "score"}
    kept = {".".join(parts[:at]) for parts in (path.split(".") for path in ends) for at in range(len(parts))}
    found = {}
    for path in sampled:
        if path in ends:
            found[path] = ends[path]
        elif path in firsts:
            found[path] = f"copy of {firsts[path].rpartition('.')[2]}:"
        else:
            found[path] = "kept" if path in kept else "pruned"
    return found


def _told(timed: Timed | None) -> dict[str, Any]:
    """Returns what a span's attributes say of its operation's time, and of how often it was done again."""
    if timed is None:
        return {"time": "not known: given back by the journal"}
    waited = {} if timed.waited is None else {"waited_ms": timed.waited}
    lost = {"lost_with": list(timed.lost)} if timed.lost else {}
    return {**waited, "retries": len(timed.lost), **lost}


def _ends(text: str) -> str:
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def _places(
    problem: str, recorded: Mapping[str, tuple[Result, int]]
) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Returns each operation's kind and path, and of each copy the path that it is equal to. A score that
    equal paths share is that of the first of them."""
    places = {}
    for key in recorded:
        kind, path, *_ = key.removeprefix(f"{problem}/").split("/")  # a score of several inputs has more
        places[key] = kind, path
    shared = {path for _, path in places.values() if SHARED in path}
    ordered = sorted(places, key=lambda key: _order(*places[key]))
    results = [(places[key][1], recorded[key][0]) for key in ordered if places[key][0] == "sample"]
    samples = [(path, found) for path, found in results if isinstance(found, SampleResult)]
    named, firsts = firsts_of(samples, shared)
    places = {key: (kind, named.get(path, path.partition(SHARED)[0])) for key, (kind, path) in places.items()}
    return places, firsts


def _order(kind: str, path: str) -> tuple[list[int], bool]:
    """Returns the place of an operation in the tree: parents first, a node's score after its sample."""
    return [int(part) for part in path.partition(SHARED)[0].split(".") if part], kind == "score"


def _above(path: str, spans_of: Mapping[str, str]) -> str:
    """The nearest node above ``path`` that was sampled; the root at last."""
    path = path.rpartition(".")[0]
    while path not in spans_of:
        path = path.rpartition(".")[0]
    return path


def _id() -> str:
    return uuid.uuid4().hex[:16]
