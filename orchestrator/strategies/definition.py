"""What a strategy is. Its parameters are its arguments after the operations, their types those of their
defaults."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadInput
from orchestrator.search.tree import Node

if TYPE_CHECKING:
    from orchestrator.search.operations import Operations

Search = Callable[..., Awaitable[Sequence[Node]]]


@dataclass(frozen=True)
class Strategy:
    """A search coroutine ``search(ops, **params)``, the check of its parameters, and what it cannot do
    without: a verifier's scores to guide it (selection may want them in any case), a reviser, or a generator
    whose thinking ends with a known marker. ``words``: what a parameter takes beside values of its
    default's type. ``within`` names the other strategies that it may run, given its parameters; what those
    need it needs too (``configured``). ``may_revise``: it may ask for revisions though it does not say so; a
    reviser is there for it, and whether the contexts of revisions fit is its own affair."""

    name: str
    search: Search
    check: Callable[..., None] | None = None
    needs_verifier: bool = False
    needs_reviser: bool = False
    needs_thinking: bool = False
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    within: Callable[..., Sequence[str]] | None = None
    may_revise: bool = False

    @property
    def has_reviser(self) -> bool:
        """Whether a run of it has a reviser."""
        return self.needs_reviser or self.may_revise

    def __call__(self, ops: Operations, **params: Any) -> Awaitable[Sequence[Node]]:
        return self.search(ops, **params)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults overridden by ``given``. Raises BadInput for an unknown name, a wrong type, or
        what the strategy's own check refuses."""
        known = self._defaults()
        for name, value in given.items():
            if name not in known:
                takes = ", ".join(known) or "no parameters"
                raise BadInput(f"strategy.{name}", value, f"{self.name} takes {takes}")
            wanted = type(known[name])
            if wanted is float and type(value) is int:
                wanted = int
            words = self.words.get(name, ())
            if known[name] is not None and type(value) is not wanted and value not in words:
                allowed = " or ".join([f"a value of type {wanted.__name__}", *words])
                raise BadInput(f"strategy.{name}", value, f"allowed: {allowed}")
        params = known | dict(given)
        if self.check is not None:
            self.check(**params)
        return params

    def _defaults(self) -> dict[str, Any]:
        """The parameters' defaults. Raises BadInput for a function that no configuration can call."""
        arguments = list(inspect.signature(self.search).parameters.values())
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
        if not arguments or arguments[0].kind in named:
            raise BadInput("strategy.name", self.name, "its first parameter must be the operations: (ops, …)")
        known = {}
        for each in arguments[1:]:
            if each.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                continue
            if each.default is inspect.Parameter.empty:
                raise BadInput("strategy.name", self.name, f"its parameter {each.name} needs a default")
            if each.kind is not inspect.Parameter.POSITIONAL_ONLY:  # those are given by name
                known[each.name] = each.default
        return known


def strategy(
    *,
    check: Callable[..., None] | None = None,
    needs_verifier: bool = False,
    needs_reviser: bool = False,
    needs_thinking: bool = False,
    words: Mapping[str, Sequence[str]] | None = None,
    within: Callable[..., Sequence[str]] | None = None,
) -> Callable[[Search], Strategy]:
    """Make a coroutine function a strategy of its own name."""
    return lambda search: Strategy(
        search.__name__, search, check, needs_verifier, needs_reviser, needs_thinking, words or {}, within
    )


def at_least(key: str, value: float, least: float) -> None:
    """Raise BadInput unless ``least <= value``, and is finite."""
    if not least <= value < float("inf"):  # so written, it refuses NaN too
        raise BadInput(key, value, f"allowed: {least} or more")
