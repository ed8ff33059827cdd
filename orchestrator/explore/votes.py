"""Tells why an answer was selected: the solutions, the different answers, and their weights by each rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.explore.description import Ending, RuleVotes, Vote
from orchestrator.search.selection import Candidate, weighted


def endings_of(row: Mapping[str, Any] | None, index: Mapping[str, int]) -> tuple[Ending, ...]:
    """Returns the solutions of a search, each once. ``index`` has each node's index by its path."""
    solutions = (row or {}).get("solutions") or ()
    times = Counter(solution["path"] for solution in solutions)
    return tuple(
        Ending(
            index.get(path, -1),
            path,
            solution["answer"],
            solution.get("key") or solution["answer"],
            solution["correct"],
            solution["score"],
            tuple(solution["step_scores"] or ()),
            solution.get("confidence"),
            times[path],
        )
        for path, solution in {solution["path"]: solution for solution in solutions}.items()
    )


def rule_votes(row: Mapping[str, Any] | None, endings: Sequence[Ending]) -> tuple[RuleVotes, ...]:
    """Returns what each rule decided. The decision is the table's own; weights are counted anew."""
    if row is None:
        return ()
    return tuple(
        _votes(rule, row[f"selected_{rule}"], bool(row[f"correct_{rule}"]), endings) for rule in rules_of(row)
    )


def rules_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the selection rules that a table of results has, the one that is shown first at the front."""
    rules = [name.removeprefix("selected_") for name in row if name.startswith("selected_")]
    return tuple(sorted(rules, key=lambda rule: rule != "weighted"))


def _votes(rule: str, answer: str | None, correct: bool, endings: Sequence[Ending]) -> RuleVotes:
    groups: dict[str, list[Ending]] = {}
    for ending in endings:
        if ending.key is not None:
            groups.setdefault(ending.key, []).append(ending)
    winner = next((one.key for one in endings if answer is not None and one.answer == answer), None)
    weigh = WEIGHTS.get(rule)
    chains = _chains(endings) if rule == "hierarchical" else {}
    votes = [
        Vote(
            (answer or "") if key == winner else _spelled(group),
            any(one.correct for one in group),
            sum(one.times for one in group),
            chains.get(key, 0.0) if rule == "hierarchical" else weigh and weigh(group),
            key == winner,
        )
        for key, group in groups.items()
    ]
    votes.sort(key=lambda vote: (-(vote.weight or 0.0), -vote.solutions, not vote.won))
    chosen = _best(endings, lambda one: winner is not None and one.key == winner)
    rival = _best(endings, lambda one: one.key != winner or winner is None)
    return RuleVotes(rule, answer, correct, tuple(votes), chosen, -1 if rival == chosen else rival)


def _spelled(group: Sequence[Ending]) -> str:
    """How an answer is written most often."""
    spelled = Counter(one.answer or "" for one in group)
    return min(spelled, key=lambda answer: (-spelled[answer], len(answer), answer))


def _best(endings: Sequence[Ending], which: Callable[[Ending], bool]) -> int:
    """The index of the best-scored of these endings, or else the first; -1 where there is none."""
    found = [index for index, ending in enumerate(endings) if which(ending)]
    return max(found, key=lambda index: _value(endings[index].score, -1.0), default=-1)


def _value(score: float | None, nothing: float = 0.0) -> float:
    return nothing if score is None or math.isnan(score) else score


WEIGHTS: Mapping[str, Callable[[Sequence[Ending]], float | None]] = {
    "majority": lambda group: float(sum(one.times for one in group)),
    "best": lambda group: max((_value(one.score) for one in group), default=None),
    "weighted": lambda group: math.fsum(_value(one.score) * one.times for one in group),
    "confident": lambda group: max((_value(one.confidence) for one in group), default=None),
    "confidence_weighted": lambda group: math.fsum(_value(one.confidence) * one.times for one in group),
}
"""By rule: the weight of an answer, of the solutions that have it (``search.selection``)."""


def _chains(endings: Sequence[Ending]) -> dict[str, float]:
    """The weight of each answer by the hierarchical rule: of the chains that it won, their best attempts'
    scores."""
    chains: dict[str, list[Ending]] = {}
    for ending in endings:
        if ending.score is not None:
            chains.setdefault(ending.path.partition(".")[0], []).append(ending)
    weights: dict[str, float] = {}
    for chain in chains.values():
        won = weighted([Candidate(one.key, one.score, path=one.path) for one in chain for _ in range(one.times)])
        if won is not None:
            best = max(_value(one.score) for one in chain if one.key == won)
            weights[won] = weights.get(won, 0.0) + best
    return weights
