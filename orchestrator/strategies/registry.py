"""Search strategies: one file each, reading like its paper's pseudocode.

A strategy is a coroutine over a few operations and knows neither Ray, vLLM nor MLflow. It is
deterministic given its operations' results, which is all that durable execution asks of it.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput, one_of
from orchestrator.strategies import (
    beam_search,
    best_of_n,
    budget_forcing,
    compute_optimal,
    dvts,
    early_rejection,
    lookahead,
    mcts,
    particle_filtering,
    rebase,
    revisions,
)
from orchestrator.strategies.definition import Strategy

REGISTRY: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        best_of_n.best_of_n,
        beam_search.beam_search,
        lookahead.lookahead,
        dvts.dvts,
        rebase.rebase,
        mcts.mcts,
        particle_filtering.particle_filtering,
        revisions.revisions,
        budget_forcing.budget_forcing,
        early_rejection.early_rejection,
        compute_optimal.compute_optimal,
    )
}

ELSEWHERE = {
    "self_consistency": "best_of_n, read by the rule majority; verifier.model=null does without a verifier",
    "majority": "best_of_n, read by the rule majority; verifier.model=null does without a verifier",
    "weighted_best_of_n": "best_of_n: each selection rule gives its answer",
    "beam": "beam_search",
}
"""What a user may look for by another name."""


def find(name: object) -> Strategy:
    """The strategy of that name, or a user's own: ``path/to/file.py:function``. Raises BadInput that
    lists the names there are, or says why the file gives none."""
    if isinstance(name, str) and ".py:" in name:
        return _from_file(name)
    if not isinstance(name, str) or name not in REGISTRY:
        allowed = one_of([*sorted(REGISTRY), "path/to/file.py:function"])
        meant = f" ({name} is {ELSEWHERE[str(name)]})" if str(name) in ELSEWHERE else ""
        raise BadInput("strategy.name", name, allowed + meant)
    return REGISTRY[name]


def configured(chosen: Mapping[str, Any]) -> Strategy:
    """The strategy of a configuration (its name and parameters), which needs what those need that it may
    run itself. Raises BadInput."""
    found = find(chosen.get("name"))
    if found.within is None:
        return found
    params = found.parameters({str(key): value for key, value in chosen.items() if key != "name"})
    inner = [find(name) for name in found.within(**params)]
    return replace(
        found,
        needs_reviser=any(each.needs_reviser for each in inner),
        needs_thinking=any(each.needs_thinking for each in inner),
        may_revise=any(each.may_revise for each in inner),
    )


def _from_file(name: str) -> Strategy:
    """``async def f(ops, *, n: int = 16)`` of a Python file; ``@strategy`` may add a check, and what it
    needs. Without that it may still revise: nobody can tell from outside."""
    path, _, attribute = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(f"strategy_{Path(path).stem}", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise BadInput("strategy.name", name, "allowed: path/to/file.py:function of a file that exists")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput("strategy.name", name, f"the file does not run: {error!r}") from error
    found = getattr(module, attribute, None)
    if isinstance(found, Strategy):
        return replace(found, name=name)
    if not inspect.iscoroutinefunction(found):
        raise BadInput("strategy.name", name, f"{path} has no coroutine function (async def) {attribute}")
    return Strategy(name, found, may_revise=True)
