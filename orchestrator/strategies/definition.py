"""What a strategy is. Its parameters are its keyword-only arguments, their types those of their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadInput
from orchestrator.tree import Node

if TYPE_CHECKING:
    from orchestrator.operations import Operations

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
        known = {
            name: parameter.default
            for name, parameter in inspect.signature(self.search).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for name, default in known.items():
            if default is inspect.Parameter.empty:
                raise BadInput("strategy.name", self.name, f"its parameter {name} needs a default")
        for name, value in given.items():
            if name not in known:
                raise BadInput(f"strategy.{name}", value, f"{self.name} takes {', '.join(known)}")
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
    """Raise BadInput unless ``value >= least``."""
    if value < least:
        raise BadInput(key, value, f"allowed: {least} or more")
