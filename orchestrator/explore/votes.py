"""Tells why an answer was selected: the solutions, the different answers, and their weights by each rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.explore.description import Ending, RuleVotes, Vote
from orchestrator.search.selection import Candidate, weighted

DIGITS = 6
"""Significant digits of a score on the page."""


class Answers:
    """Gives each text a number: an answer that many solutions have is on the page once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Returns the number of a text; -1 of None."""
        return -1 if text is None else self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts in the order of their numbers."""
        return tuple(self._numbers)


def rounded(score: float | None) -> float | None:
    """Returns a score to ``DIGITS`` significant digits, since more of them cost space: what is decided by
    scores is decided before."""
    return None if score is None else float(f"{score:.{DIGITS}g}")


def _number(score: float | None) -> float | None:
    return None if score is None or math.isnan(score) else score


def endings_of(
    row: Mapping[str, Any] | None, index: Mapping[str, int], answers: Answers
) -> tuple[Ending, ...]:
    """Returns the solutions of a search, each once. ``index`` has each node's index by its path."""
    solutions = (row or {}).get("solutions") or ()
    times = Counter(solution["path"] for solution in solutions)
    return tuple(
        Ending(
            index.get(path, -1),
            path,
            answers.number(solution["answer"]),
            answers.number(solution.get("key") or solution["answer"]),
            solution["correct"],
            _number(solution["score"]),
            # The lines of a run that was cut short have null for a score that is no number.
            tuple(math.nan if score is None else score for score in solution["step_scores"] or ()),
            _number(solution.get("confidence")),
            times[path],
        )
        for path, solution in {solution["path"]: solution for solution in solutions}.items()
    )


def rule_votes(
    row: Mapping[str, Any] | None, endings: Sequence[Ending], answers: Answers
) -> tuple[RuleVotes, ...]:
    """Returns what each rule decided. The decision is the table's own; weights are counted anew."""
    if row is None:
        return ()
    return tuple(
        _votes(rule, answers.number(row[f"selected_{rule}"]), bool(row[f"correct_{rule}"]), endings)
        for rule in rules_of(row)
    )


def rules_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the selection rules that a table of results has, the one that is shown first at the front."""
    rules = [name.removeprefix("selected_") for name in row if name.startswith("selected_")]
    return tuple(sorted(rules, key=lambda rule: rule != "weighted"))


def _votes(rule: str, answer: int, correct: bool, endings: Sequence[Ending]) -> RuleVotes:
    groups: dict[int, list[Ending]] = {}
    for ending in endings:
        if ending.key >= 0:
            groups.setdefault(ending.key, []).append(ending)
    winner = next((one.key for one in endings if one.answer == answer >= 0), -1)
    weigh = WEIGHTS.get(rule)
    chains = _chains(endings) if rule == "hierarchical" else {}
    votes = [
        Vote(
            answer if key == winner else _spelled(group),
            any(one.correct for one in group),
            sum(one.times for one in group),
            chains.get(key, 0.0) if rule == "hierarchical" else weigh and weigh(group),
            key == winner,
        )
        for key, group in groups.items()
    ]
    votes.sort(key=lambda vote: (-(vote.weight or 0.0), -vote.solutions, not vote.won))
    chosen = _best(endings, lambda one: one.key == winner >= 0)
    rival = _best(endings, lambda one: one.key != winner or winner < 0)
    return RuleVotes(rule, answer, correct, tuple(votes), chosen, rival)


def _spelled(group: Sequence[Ending]) -> int:
    """How an answer is written most often."""
    ((answer, _),) = Counter(one.answer for one in group).most_common(1)
    return answer


def _best(endings: Sequence[Ending], which: Callable[[Ending], bool]) -> int:
    """The index of the best-scored of these endings, or else the first; -1 where there is none."""
    found = [index for index, ending in enumerate(endings) if which(ending)]
    return max(found, key=lambda index: _value(endings[index].score, -1.0), default=-1)


def _value(score: float | None, nothing: float = 0.0) -> float:
    return nothing if score is None else score


WEIGHTS: Mapping[str, Callable[[Sequence[Ending]], float | None]] = {
    "majority": lambda group: float(sum(one.times for one in group)),
    "best": lambda group: max(_value(one.score) for one in group),
    "weighted": lambda group: math.fsum(_value(one.score) * one.times for one in group),
    "confident": lambda group: max(_value(one.confidence) for one in group),
    "confidence_weighted": lambda group: math.fsum(_value(one.confidence) * one.times for one in group),
}
"""By rule: the weight of an answer, of the solutions that have it (``search.selection``)."""


def _chains(endings: Sequence[Ending]) -> dict[int, float]:
    """The weight of each answer by the hierarchical rule: of the chains that it won, their best attempts'
    scores."""
    chains: dict[str, list[Ending]] = {}
    for ending in endings:
        if ending.score is not None and ending.key >= 0:
            chains.setdefault(ending.path.partition(".")[0], []).append(ending)
    weights: dict[int, float] = {}
    for chain in chains.values():
        voters = [
            Candidate(str(one.key), one.score, path=one.path) for one in chain for _ in range(one.times)
        ]
        won = int(weighted(voters) or -1)
        weights[won] = weights.get(won, 0.0) + max(_value(one.score) for one in chain if one.key == won)
    return weights
