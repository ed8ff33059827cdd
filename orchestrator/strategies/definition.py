"""Defines a strategy: a coroutine, its parameters and their checks, and its needs of a run.

The parameters are the arguments after the operations. Their types are those of their defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import BadInput, meant
from orchestrator.extensions.user_file import own_code
from orchestrator.problems.codec import Codec
from orchestrator.search.tree import Node

if TYPE_CHECKING:
    from orchestrator.search.operations import Operations

Search = Callable[..., Awaitable[Sequence[Node]]]
"""``search(ops, **params)`` returns the solutions of one problem."""


DONE_BEFORE = {"distinct": False}
"""Parameters of strategies that came later, with the values that do what was done without them."""

PLAIN = (bool, int, float, str, list, dict, type(None))
"""The types of values that a configuration can hold."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run that a strategy's own check may use: models by name, lengths in tokens."""

    codec: Codec
    generator: str
    verifier: str | None
    aggregation: str
    max_tokens: int
    """The most tokens of a solution."""


@dataclass(frozen=True)
class Strategy:
    """A search coroutine with what a run must know of it."""

    name: str
    search: Search
    check: Callable[..., None] | None = None
    """``check(**params)`` raises BadInput where the parameters cannot be used."""
    check_run: Callable[..., None] | None = None
    """``check_run(facts, **params)`` raises BadInput where the parameters do not fit the run."""
    needs_verifier: bool = False
    """The scores of steps guide the search. (Selection may want scores in any case.)"""
    needs_reviser: bool = False
    needs_thinking: bool = False
    """The generator's thinking must end with a known marker."""
    begins: Literal["solutions", "steps"] | None = None
    """What it begins with, scored where there is a verifier; None where that is not known."""
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By parameter: the words that it takes beside values of its default's type."""
    within: Callable[..., Sequence[str]] | None = None
    """``within(**params)`` names the other strategies that this one may run; it needs what those need."""
    may_revise: bool = False
    """It may ask for revisions without saying so. Then a reviser is there, and whether the contexts of
    revisions fit is the strategy's own affair."""

    @property
    def has_reviser(self) -> bool:
        """True if a run of this strategy has a reviser."""
        return self.needs_reviser or self.may_revise

    def __call__(self, ops: Operations, **params: Any) -> Awaitable[Sequence[Node]]:
        """Searches one problem with these parameters; the others have their defaults."""
        return self.search(ops, **params)

    def as_stored(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Returns parameters as they were stored, with a value for each one that there was then: those that
        came later do what was done without them."""
        known = self._defaults()
        return {name: value for name, value in DONE_BEFORE.items() if name in known} | dict(stored)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the defaults overridden by ``given``.

        Raises BadInput for an unknown name, a wrong type, or what the strategy's own check refuses.
        """
        known = self._defaults()
        for name, value in given.items():
            if name not in known:
                takes = ", ".join(known) or "no parameters"
                raise BadInput(f"strategy.{name}", value, f"{meant(name, known)}{self.name} takes {takes}")
            wanted = type(known[name])
            if wanted is float and type(value) is int:
                wanted = int
            words = self.words.get(name, ())
            if known[name] is not None and type(value) is not wanted and value not in words:
                allowed = " or ".join([f"a value of type {wanted.__name__}", *words])
                raise BadInput(f"strategy.{name}", value, f"allowed: {allowed}")
        params = known | dict(given)
        if self.check is not None:
            with own_code("strategy.name", self.name, "its own check failed"):
                self.check(**params)
        return params

    def _defaults(self) -> dict[str, Any]:
        """The parameters' defaults. Raises BadInput for a function that no configuration can call."""
        arguments = list(inspect.signature(self.search).parameters.values())
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
        if not arguments or arguments[0].kind in named:
            raise BadInput("strategy.name", self.name, "its first parameter must be the operations: (ops, …)")
        known = {}
        for argument in arguments[1:]:
            if argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                continue
            if argument.default is inspect.Parameter.empty:
                raise BadInput("strategy.name", self.name, f"its parameter {argument.name} needs a default")
            if argument.name == "name" or not isinstance(argument.default, PLAIN):
                needed = "a name other than name, and a default that a configuration can hold"
                raise BadInput("strategy.name", self.name, f"its parameter {argument.name} needs {needed}")
            if argument.kind is not inspect.Parameter.POSITIONAL_ONLY:  # those are given by name
                known[argument.name] = argument.default
        return known


@dataclass(frozen=True)
class BoundStrategy:
    """A strategy with its parameters: what one run searches its problems with."""

    strategy: Strategy
    params: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The strategy's name."""
        return self.strategy.name

    @property
    def section(self) -> dict[str, Any]:
        """The ``strategy`` section of a configuration that asks for exactly this."""
        return {"name": self.name, **self.params}

    def __call__(self, ops: Operations) -> Awaitable[Sequence[Node]]:
        """Searches one problem."""
        return self.strategy.search(ops, **self.params)

    def check_run(self, facts: RunFacts) -> None:
        """Raises BadInput where the parameters do not fit the run."""
        if self.strategy.check_run is not None:
            with own_code("strategy.name", self.name, "its own check failed"):
                self.strategy.check_run(facts, **self.params)


def strategy(
    *,
    check: Callable[..., None] | None = None,
    check_run: Callable[..., None] | None = None,
    needs_verifier: bool = False,
    needs_reviser: bool = False,
    needs_thinking: bool = False,
    begins: Literal["solutions", "steps"] | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
    within: Callable[..., Sequence[str]] | None = None,
) -> Callable[[Search], Strategy]:
    """Makes a coroutine function a strategy of its own name; the arguments are the fields of Strategy."""
    return lambda search: Strategy(
        name=search.__name__,
        search=search,
        check=check,
        check_run=check_run,
        needs_verifier=needs_verifier,
        needs_reviser=needs_reviser,
        needs_thinking=needs_thinking,
        begins=begins,
        words=words or {},
        within=within,
    )
