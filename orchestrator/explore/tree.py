"""Describes one problem's search from what its journal and its row of results hold.

The journal has an operation's result and not what the strategy made of it. What became of a node follows from
which solutions were returned, and which equal siblings share a score.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec.structs import replace

from actors.messages import SampleResult, ScoreResult
from orchestrator.durability.reading import Recorded
from orchestrator.explore.description import Change, Cost, Ending, Event, Fate, Piece, Tree, TreeNode, What
from orchestrator.explore.times import Timed
from orchestrator.explore.votes import DIGITS, Answers, endings_of, rounded, rule_votes
from orchestrator.grading.thinking import without_thinking
from orchestrator.problems.codec import Codec
from orchestrator.search.distinct import SHARED, firsts_of

COMPARED_WORDS = 4000
"""Words of an attempt, and of the one before it, up to which a revision's changes are looked for."""
WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass
class _Sampled:
    """One sample of a search, with what else is known of it."""

    path: str
    result: SampleResult
    flops: int
    revision: bool
    scores: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """By the number of the verifier's input."""
    verifier_flops: int = 0
    index: int = -1
    depth: int = 1
    """Samples on the way to it, itself included."""
    above: _Sampled | None = None
    first: _Sampled | None = None
    """The sibling that it is equal to, if it became that one."""
    text: str = ""
    given: str | None = None
    """The text that the strategy wrote before it: empty where that is not recorded."""
    thinking: tuple[int, int] = (0, 0)
    """The range of its text that is thinking."""


class Outline(NamedTuple):
    """How much there is of a search."""

    nodes: int
    endings: int
    costs: tuple[Cost, ...]


def tree_of(
    problem: str,
    recorded: Sequence[Recorded],
    codec: Codec,
    row: Mapping[str, Any] | None,
    choices: Sequence[Recorded] = (),
    times: Mapping[str, Timed] | None = None,
) -> Tree:
    """Returns the search of a problem.

    ``recorded`` are its operations in the order in which they were recorded, ``choices`` those of generative
    selection. ``row`` is its row of the table of results; None where the run was cut short before the search
    ended. ``times`` are those of ``Event``, by the operations' keys without the problem.
    """
    nodes, places = _nodes(problem, recorded)
    _read_texts(nodes, codec)
    answers = Answers()
    endings = endings_of(row, {node.path: node.index for node in nodes}, answers)
    rules = rule_votes(row, endings, answers)
    by_path = {node.path: node for node in nodes}
    for solution in (row or {}).get("solutions") or ():
        if solution["path"] in by_path:
            _find_given(_line(by_path[solution["path"]]), solution["text"], codec)
    _find_thinking(nodes, codec.end_of_thinking)
    fates = _fates(nodes, endings, ended=row is not None)
    steps = {ending.node: ending.step_scores for ending in endings}
    events = [
        _event(
            kind,
            -1 if node is None else node.index,
            *recorded[at][1:],
            (times or {}).get(recorded[at][0].removeprefix(f"{problem}/")),
        )
        for at, (kind, node) in enumerate(places)
    ]
    events += [_event("choose", -1, result, flops) for _, result, flops in choices]
    described = tuple(_described(node, fates[node.index], steps.get(node.index, ()), codec) for node in nodes)
    return Tree(
        problem,
        (row or {}).get("prompt") or "",
        codec.conversation.reply,
        (row or {}).get("answer") or "",
        tuple((row or {}).get("also") or ()),
        described,
        tuple(events),
        answers.texts,
        tuple(map(_shortened, endings)),
        rules,
        _costs(nodes, fates, _flops(choices), row),
        (row or {}).get("error"),
    )


def outline_of(
    problem: str,
    recorded: Sequence[Recorded],
    row: Mapping[str, Any] | None,
    choices: Sequence[Recorded] = (),
) -> Outline:
    """Returns what ``tree_of`` would count, and reads no text for it."""
    nodes, _ = _nodes(problem, recorded)
    endings = endings_of(row, {node.path: node.index for node in nodes}, Answers())
    fates = _fates(nodes, endings, ended=row is not None)
    costs = _costs(nodes, fates, _flops(choices), row)
    return Outline(len(nodes), sum(ending.times for ending in endings), costs)


def _nodes(
    problem: str, recorded: Sequence[Recorded]
) -> tuple[list[_Sampled], list[tuple[str, _Sampled | None]]]:
    """The samples, parents first, and each operation's kind and node."""
    keys = [key.removeprefix(f"{problem}/").split("/") for key, *_ in recorded]
    by_path = {
        path: _Sampled(path, result, flops, kind == "revise")
        for (kind, path, *_), (_, result, flops) in zip(keys, recorded, strict=True)
        if isinstance(result, SampleResult)
    }
    nodes = sorted(by_path.values(), key=lambda node: [int(part) for part in node.path.split(".")])
    for index, node in enumerate(nodes):
        node.index = index
        node.above = _above(node.path, by_path)
        node.depth = 1 if node.above is None else node.above.depth + 1
        parent = node.path.rpartition(".")[0]
        # A draft begins with an empty path; below it, what was not sampled was given.
        if "." in parent and parent not in by_path:
            node.given = ""
    shared = {path for kind, path, *_ in keys if kind == "score" and SHARED in path}
    named, firsts = firsts_of(((node.path, node.result) for node in nodes), shared)
    for path, first in firsts.items():
        by_path[path].first = by_path[first]
    places: list[tuple[str, _Sampled | None]] = []
    for (kind, path, *rest), (_, result, flops) in zip(keys, recorded, strict=True):
        found = by_path.get(named.get(path, path)) or by_path.get(path.partition(SHARED)[0])
        if isinstance(result, ScoreResult) and found is not None:
            found.scores[int(rest[0]) if rest else 0] = result.scores
            found.verifier_flops += flops
        places.append((kind, found))
    return nodes, places


def _above(path: str, by_path: Mapping[str, _Sampled]) -> _Sampled | None:
    """The nearest sample above a path."""
    while path:
        path = path.rpartition(".")[0]
        if path in by_path:
            return by_path[path]
    return None


def _read_texts(nodes: Sequence[_Sampled], codec: Codec) -> None:
    written: dict[int, tuple[int, ...]] = {-1: ()}
    for node in nodes:
        new, before = node.result.tokens, written[node.above.index if node.above else -1]
        written[node.index] = new if node.revision else before + new
        text = codec.decode(new)
        if "\ufffd" in text:  # a character may begin in one step and end in the next
            head = codec.decode(before).rstrip("\ufffd")
            whole = codec.decode(before + new).rstrip("\ufffd")
            text = whole[len(head) :] if whole.startswith(head) and not node.revision else text
        node.text = text


def _line(node: _Sampled) -> list[_Sampled]:
    """The samples whose texts make the node's path, the first one first; a revision begins anew."""
    line = [node]
    while not line[-1].revision and line[-1].above is not None:
        line.append(line[-1].above)
    return line[::-1]


def _find_given(line: Sequence[_Sampled], whole: str, codec: Codec) -> None:
    """Reads given text off a solution's text: what stands between the samples."""
    if all(node.given is None for node in line):
        return
    at = len(codec.conversation.reply)
    for node in line:
        text = node.text
        found = whole.find(text, at)
        if found < 0 and codec.end_of_thinking:  # its end was taken away, and it goes on
            text = text.removesuffix(codec.end_of_thinking)
            found = whole.find(text, at)
        if found < 0:
            return
        if node.given is not None:
            node.given = whole[at:found]
        at = found + len(text)


def _find_thinking(nodes: Sequence[_Sampled], end: str | None) -> None:
    """Finds the thinking in each path, up to its last end."""
    parents = {node.above.index for node in nodes if node.above and not node.revision}
    for leaf in nodes:
        if leaf.index in parents:
            continue
        line = _line(leaf)
        texts = [(node.given or "") + node.text for node in line]
        whole = "".join(texts)
        if not (end and end in whole) and "<" not in whole and "[THINK]" not in whole and "◁" not in whole:
            continue
        rest = without_thinking(whole, end)
        if len(rest) == len(whole):
            continue
        # What is left is at the end; or at the beginning, before thinking that was opened and never closed.
        first, last = (0, len(whole) - len(rest)) if whole.endswith(rest) else (len(rest), len(whole))
        at = 0
        for node, text in zip(line, texts, strict=True):
            given = len(node.given or "")
            begin, stop = max(0, first - at - given), min(len(text), last - at) - given
            if stop > begin:
                node.thinking = begin, max(stop, node.thinking[1])
            at += len(text)


def _fates(nodes: Sequence[_Sampled], endings: Sequence[Ending], *, ended: bool) -> list[Fate]:
    fates: list[Fate] = ["copy" if node.first else "dropped" if ended else "open" for node in nodes]
    for ending in endings:
        if ending.node < 0:
            continue
        fates[ending.node] = "returned"
        above = nodes[ending.node].above
        while above is not None and fates[above.index] != "returned":
            fates[above.index] = "kept"
            above = above.above
    return fates


def _described(node: _Sampled, fate: Fate, step_scores: Sequence[float], codec: Codec) -> TreeNode:
    above = node.above
    scores = [score for _, some in sorted(node.scores.items()) for score in some]
    return TreeNode(
        node.path,
        -1 if above is None else above.index,
        tuple(_pieces(node, scores, step_scores, codec)) if node.first is None else (),
        node.result.finish,
        fate,
        -1 if node.first is None else node.first.index,
        len(node.result.tokens),
        node.flops,
        node.verifier_flops,
        node.revision,
        changes(above.text, node.text) if node.revision and above is not None else (),
    )


def _pieces(
    node: _Sampled, scores: Sequence[float], step_scores: Sequence[float], codec: Codec
) -> list[Piece]:
    """The steps of a node's text, each with its score; thinking apart."""
    texts = _steps(node, codec)
    if len(step_scores) >= len(texts):  # of a solution all are known
        of_step: list[float | None] = [*step_scores[len(step_scores) - len(texts) :]]
    else:  # the last ones are of the last steps; what has no words has none
        left = [*scores]
        of_step = [left.pop() if left and text.strip() else None for text in reversed(texts)][::-1]
    pieces = [] if node.given is None else [Piece(node.given, None, "given")]
    at, (begin, stop) = 0, node.thinking
    for text, score in zip(texts, of_step, strict=True):
        cuts = [at, *(cut for cut in (begin, stop) if at < cut < at + len(text)), at + len(text)]
        parts = [
            Piece(node.text[a:b], None, "thinking" if begin <= a < stop else "") for a, b in pairwise(cuts)
        ]
        last = parts.pop()
        pieces += [*parts, Piece(last.text, rounded(score), last.sort)]
        at += len(text)
    return pieces


def _steps(node: _Sampled, codec: Codec) -> list[str]:
    tokens = node.result.tokens
    if node.result.finish == "step":
        return [node.text]
    ends = [0, *codec.step_ends(tokens, 0)]
    texts = [codec.decode(tokens[a:b]) for a, b in pairwise(ends)]
    # Tokens that are decoded apart may read otherwise: then the text is one piece.
    return texts if texts and "".join(texts) == node.text else [node.text]


def _shortened(ending: Ending) -> Ending:
    return replace(
        ending,
        score=rounded(ending.score),
        step_scores=tuple(float(f"{score:.{DIGITS}g}") for score in ending.step_scores),
        confidence=rounded(ending.confidence),
    )


def changes(before: str, after: str) -> tuple[Change, ...]:
    """Returns what a revision changed, word by word; nothing where a text has more than ``COMPARED_WORDS``
    of them."""
    old, new = WORDS.findall(before), WORDS.findall(after)
    if max(len(old), len(new)) > COMPARED_WORDS:
        return ()
    found: list[Change] = []
    for sort, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if sort == "equal":
            found.append(Change("=", "".join(old[a:b])))
        else:
            found += [Change("-", "".join(old[a:b]))] if b > a else []
            found += [Change("+", "".join(new[c:d]))] if d > c else []
    return tuple(found)


def _event(kind: Any, node: int, result: Any, flops: int, time: Timed | None = None) -> Event:
    tokens = len(result.tokens) if isinstance(result, SampleResult) else len(result.scores)
    return Event(kind, node, flops, tokens, result.computed_tokens, result.replica, *(time or ()))


WHAT: Mapping[Fate, What] = {
    "returned": "kept",
    "kept": "kept",
    "dropped": "dropped",
    "copy": "copy",
    "open": "open",
}


def _flops(recorded: Sequence[Recorded]) -> int:
    return sum(flops for *_, flops in recorded)


def _costs(
    nodes: Sequence[_Sampled], fates: Sequence[Fate], choices: int, row: Mapping[str, Any] | None
) -> tuple[Cost, ...]:
    """FLOPs by depth and fate, with those of ``choices``. What the row has beyond the operations was charged
    for prompts and given text."""
    generator: Counter[tuple[int, What]] = Counter()
    verifier: Counter[tuple[int, What]] = Counter()
    for node, fate in zip(nodes, fates, strict=True):
        generator[node.depth, WHAT[fate]] += node.flops
        verifier[node.depth, WHAT[fate]] += node.verifier_flops
    generator[0, "choice"] = choices
    if row is not None:
        generator[0, "prompt"] = int(row["generator_flops"]) - sum(generator.values())
        verifier[0, "prompt"] = int(row["verifier_flops"]) - sum(verifier.values())
    return costs_of(generator, verifier)


def costs_of(
    generator: Mapping[tuple[int, What], int], verifier: Mapping[tuple[int, What], int]
) -> tuple[Cost, ...]:
    """Returns FLOPs by depth and by what they were spent on."""
    return tuple(
        Cost(*of, generator.get(of, 0), verifier.get(of, 0))
        for of in sorted({*generator, *verifier})
        if generator.get(of, 0) or verifier.get(of, 0)
    )


def attributes_of(row: Mapping[str, Any]) -> str:
    """Returns a problem's attributes as words: ``level 3, subject algebra``."""
    found = json.loads(row.get("attributes") or "{}")
    return ", ".join(f"{name} {value}" for name, value in found.items())
