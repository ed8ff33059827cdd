"""Finds what a run may do and can gain little by: each warning is a sentence that names the key to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.budget.units import in_flops
from orchestrator.config.affordable import affordable, may_move
from orchestrator.config.letters import lost_letters
from orchestrator.config.preparation import Prepared
from orchestrator.config.selection import kept_of
from orchestrator.durability.file_systems import shared_file_system
from orchestrator.errors import as_given, counted
from orchestrator.grading.exact import Exact
from orchestrator.tracking.uri import sqlite_file


def warnings_of(prepared: Prepared) -> list[str]:
    """Returns the warnings of a run, which is started all the same."""
    return [line for warning in WARNINGS for line in warning(prepared)]


def _shares(prepared: Prepared) -> Iterator[str]:
    budget, whole = prepared.budget, prepared.whole
    if prepared.config.allocation.name != "uniform":
        return
    selection = prepared.config.selection
    left = [share - kept_of(selection, share) for share in budget.shares]
    poor = [cost for share, cost in zip(left, whole, strict=True) if share < cost]
    if poor:
        bought = affordable(budget.flops, whole)
        help = [f"problems.limit={bought}"] if 0 < bought < len(whole) else []
        moves = may_move(prepared.strategy.strategy) and budget.flops >= min(whole)
        help += ["allocation.name=adaptive"] if moves else []
        yield (
            f"budget.{budget.unit}: an equal share buys no longest solution of {len(poor):,} of "
            f"{counted(len(whole), 'problem')}, with its prompt ({in_flops(max(poor))})"
            + (f"; whole ones are bought with {' or '.join(help)}" if help else "")
        )


def _limit(prepared: Prepared) -> Iterator[str]:
    limit, there = prepared.config.problems.limit, len(prepared.problems) + len(prepared.skipped)
    if limit is not None and limit > there:
        found = f"there {'is' if there == 1 else 'are'} {counted(there, 'problem')}"
        yield f"problems.limit is {limit:,}, and {found}"


def _greedy(prepared: Prepared) -> Iterator[str]:
    n = prepared.strategy.params.get("n")
    if prepared.config.generator.temperature == 0 and isinstance(n, int) and n > 1:
        yield f"generator.temperature is 0: the {n} samples of strategy.n are all the same"


def _rounds(prepared: Prepared) -> Iterator[str]:
    rounds = prepared.strategy.params.get("max_rounds")
    if not isinstance(rounds, int):
        return
    answer = min((problem.answer for problem in prepared.problems), key=len)
    steps = 1
    if isinstance(prepared.checker, Exact):  # the answer is the whole solution
        steps = len(prepared.codec.step_ends(prepared.codec.continuation(answer), 0))
    if rounds < steps:
        yield f"strategy.max_rounds is {rounds}, and the shortest answer has {steps} steps: none is reached"
    elif rounds == 1:
        yield "strategy.max_rounds is 1: only a solution of one step is reached"


def _store(prepared: Prepared) -> Iterator[str]:
    config = prepared.config
    file = sqlite_file(config.tracking.uri, config.runs)
    kind = shared_file_system(file) if file is not None else None
    if kind is not None:
        yield (
            f"tracking.uri is {as_given(config.tracking.uri)}: {file} would be SQLite on {kind}, which other "
            "machines may share, and runs that write there at once can damage it; needed: an MLflow server "
            "(cluster/mlflow-compose.yaml), or a disk of this machine"
        )


WARNINGS: tuple[Callable[[Prepared], Iterator[str]], ...] = (
    _shares,
    _limit,
    _greedy,
    _rounds,
    lost_letters,
    _store,
)
"""A new one is a function and its name here."""
