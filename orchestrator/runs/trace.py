"""Makes the tree of spans of a problem's search, from the journal, when the search is over.

The journal keeps no times, so a trace's clock is its own: a millisecond a token that was sampled on the way,
and as much for a score. It shows the order, and what waited for what; not how long anything took.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from actors.messages import Result, SampleResult, Until
from orchestrator.runs.controller import SearchResult
from orchestrator.search.distinct import SHARED, name_of

MOST_SPANS = 1000
"""The most spans of a trace: nobody reads a larger one."""
MOST_CHARACTERS = 2000
"""The most characters of a text in a trace; of a longer one it has the two ends."""


def trace_of(
    result: SearchResult,
    recorded: Mapping[str, tuple[Result, int]],
    decode: Callable[[Sequence[int]], str],
    ms: int,
) -> dict[str, Any]:
    """Returns the trace of a search: its id and spans, the root first, parents before their children.

    ``recorded`` is the problem's journal. ``ms`` is when the search ended, in milliseconds since 1970.
    """
    root = _id()
    nodes = {"": root}  # the span of each node of the tree that was sampled
    ends = {"": 0}  # and when it is done with: sampled, and scored if it was
    spans: list[dict[str, Any]] = []
    places = _places(result.problem.id, recorded)
    for key in sorted(places, key=lambda key: _order(*places[key]))[:MOST_SPANS]:
        found, flops = recorded[key]
        kind, path = places[key]
        details: dict[str, Any] = {
            "flops": flops,
            "computed_tokens": found.computed_tokens,
            "replica": found.replica,
        }
        outputs: Any
        if isinstance(found, SampleResult):
            above, length = _above(path, nodes), len(found.tokens)
            outputs = _ends(decode(found.tokens))
            details |= {"tokens": length, "finish": found.finish}
        else:
            above, length, outputs = path if path in nodes else _above(path, nodes), 1, list(found.scores)
        ends[path] = ends[above] + length
        span = {
            "id": _id(),
            "parent": nodes[above],
            "name": f"{kind} {path}",
            "start": ends[path] - length,
            "end": ends[path],
            "inputs": None,
            "outputs": outputs,
            "details": details,
        }
        if isinstance(found, SampleResult):
            nodes[path] = str(span["id"])
        spans.append(span)
    whole = max(ends.values())
    return {
        "id": f"tr-{uuid.uuid4().hex}",
        "ms": ms - whole,
        "error": result.error,
        "spans": [
            {
                "id": root,
                "parent": None,
                "name": result.problem.id,
                "start": 0,
                "end": whole,
                "inputs": {"prompt": _ends(result.problem.prompt)},
                "outputs": {"selected": dict(result.selected), "correct": dict(result.correct)},
                "details": {
                    "expected": result.problem.answer,
                    "flops": result.usage.flops,
                    "operations": len(recorded),
                    "exhausted": result.exhausted,
                    "clock": "1 ms a token: order, not time",
                },
            },
            *spans,
        ],
    }


def _ends(text: str) -> str:
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def _places(problem: str, recorded: Mapping[str, tuple[Result, int]]) -> dict[str, tuple[str, str]]:
    """Returns each operation's kind and path. A score that equal paths share is that of the first of them."""
    places = {}
    for key in recorded:
        kind, path, *_ = key.removeprefix(f"{problem}/").split("/")  # a score of several inputs has more
        places[key] = kind, path
    firsts: dict[str, str] = {}
    if any(SHARED in path for _, path in places.values()):
        for key, (kind, path) in sorted(places.items(), key=lambda item: _order(*item[1])):
            found, above = recorded[key][0], path.rpartition(".")[0]
            if kind == "sample" and isinstance(found, SampleResult):
                for until in get_args(Until):
                    firsts.setdefault(name_of(above, until, found.finish, found.tokens), path)
    return {key: (kind, firsts.get(path, path.partition(SHARED)[0])) for key, (kind, path) in places.items()}


def _order(kind: str, path: str) -> tuple[list[int], bool]:
    """Returns the place of an operation in the tree: parents first, a node's score after its sample."""
    return [int(part) for part in path.partition(SHARED)[0].split(".") if part], kind == "score"


def _above(path: str, nodes: Mapping[str, str]) -> str:
    """The nearest node above ``path`` that was sampled; the root at last."""
    path = path.rpartition(".")[0]
    while path not in nodes:
        path = path.rpartition(".")[0]
    return path


def _id() -> str:
    return uuid.uuid4().hex[:16]
