"""Finds a strategy by its name, or a user's own in a Python file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.errors import BadInput, one_of
from orchestrator.extensions.user_file import load_attribute
from orchestrator.strategies.adaptive_self_consistency import adaptive_self_consistency
from orchestrator.strategies.beam_search import beam_search
from orchestrator.strategies.best_of_n import best_of_n
from orchestrator.strategies.budget_forcing import budget_forcing
from orchestrator.strategies.compute_optimal import compute_optimal_among
from orchestrator.strategies.definition import BoundStrategy, Strategy
from orchestrator.strategies.dvts import dvts
from orchestrator.strategies.early_rejection import early_rejection
from orchestrator.strategies.lookahead import lookahead
from orchestrator.strategies.mcts import mcts
from orchestrator.strategies.particle_filtering import particle_filtering
from orchestrator.strategies.rebase import rebase
from orchestrator.strategies.revisions import revisions

ELSEWHERE = {
    "self_consistency": "best_of_n, read by the rule majority; verifier.model=null does without a verifier",
    "majority": "best_of_n, read by the rule majority; verifier.model=null does without a verifier",
    "weighted_best_of_n": "best_of_n: each selection rule gives its answer",
    "adaptive_consistency": "adaptive_self_consistency",
    "beam": "beam_search",
}
"""Other names that a user may look for, and what they are called here."""


def find(name: object) -> Strategy:
    """Returns the strategy of that name, or the one in ``path/to/file.py:function``.

    Raises BadInput that lists the names there are, or says why the file gives none.
    """
    if isinstance(name, str) and ".py:" in name:
        return _from_file(name)
    if not isinstance(name, str) or name not in REGISTRY:
        allowed = one_of([*sorted(REGISTRY), "path/to/file.py:function"], name)
        meant = f" ({name} is {ELSEWHERE[str(name)]})" if str(name) in ELSEWHERE else ""
        raise BadInput("strategy.name", name, allowed + meant)
    return REGISTRY[name]


REGISTRY: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        best_of_n,
        adaptive_self_consistency,
        beam_search,
        lookahead,
        dvts,
        rebase,
        mcts,
        particle_filtering,
        revisions,
        budget_forcing,
        early_rejection,
        compute_optimal_among(find),
    )
}


def resolve(section: Mapping[str, Any]) -> BoundStrategy:
    """Returns the strategy of a configuration's ``strategy`` section, its parameters checked and bound.

    It needs what the strategies need that it may run itself. Raises BadInput.
    """
    found = find(section.get("name"))
    params = found.parameters({str(key): value for key, value in section.items() if key != "name"})
    if found.within is not None:
        inner = [find(name) for name in found.within(**params)]
        found = replace(
            found,
            needs_reviser=any(strategy.needs_reviser for strategy in inner),
            needs_thinking=any(strategy.needs_thinking for strategy in inner),
            may_revise=any(strategy.may_revise for strategy in inner),
        )
    return BoundStrategy(found, params)


def _from_file(name: str) -> Strategy:
    """``async def f(ops, *, n: int = 16)`` of a Python file. ``@strategy`` may add checks and needs; without
    it the function may still revise, since nobody can tell from outside."""
    found = load_attribute("strategy.name", name)
    search = found.search if isinstance(found, Strategy) else found
    if not inspect.iscoroutinefunction(search):
        path, _, attribute = name.rpartition(":")
        raise BadInput("strategy.name", name, f"{path} has no coroutine function (async def) {attribute}")
    if isinstance(found, Strategy):
        return replace(found, name=name)
    return Strategy(name, found, may_revise=True)
