"""Checks what a strategy asks its operations for, before anything is paid.

A value that no engine takes is bad input, in one line; the search's error adds the strategy's own line.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, get_args

from actors.messages import MAX_TEMPERATURE, Until
from orchestrator.errors import BadInput, one_of
from orchestrator.search.tree import Node

UNTIL: tuple[str, ...] = get_args(Until)


def check_until(until: object, end_of_thinking: str | None) -> None:
    """Raises BadInput unless a generator can stop there."""
    if until not in UNTIL:
        raise BadInput("until", until, one_of(UNTIL))
    if until == "thought" and end_of_thinking is None:
        raise BadInput("until", until, "this run has no generator.end_of_thinking; allowed: step or end")


def check_temperature(temperature: object) -> None:
    """Raises BadInput unless an engine samples at this temperature; None is the run's own."""
    if temperature is None:
        return
    number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not number or not 0 <= temperature <= MAX_TEMPERATURE:  # type: ignore[operator]
        raise BadInput("temperature", temperature, f"allowed: 0 to {MAX_TEMPERATURE:g}, or None")


def check_among(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises BadInput unless ``value`` is one of these words."""
    if not isinstance(value, str) or value not in allowed:
        raise BadInput(name, value, one_of(allowed))


def count_of(name: str, value: Any) -> int:
    """Returns ``value`` as a count, 0 or more. Raises BadInput."""
    try:
        count = math.nan if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = math.nan
    if not count >= 0:
        raise BadInput(name, value, "allowed: a whole number, 0 or more")
    return int(count)


def counts_of(n: Any, parents: int) -> list[int]:
    """Returns how many children each of so many parents gets: ``n`` is one count for all, or one for each.
    Raises BadInput."""
    if isinstance(n, str) or not isinstance(n, Sequence):
        return [count_of("n", n)] * parents
    if len(n) != parents:
        raise BadInput("n", list(n), f"allowed: a whole number, or a list of {parents}, one for each parent")
    return [count_of("n", each) for each in n]


def nodes_of(name: str, given: Any) -> list[Node]:
    """Returns a node, or a sequence of nodes, as a list. Raises BadInput."""
    nodes = [given] if isinstance(given, Node) else given
    if isinstance(nodes, str) or not isinstance(nodes, Sequence):
        raise BadInput(name, given, "allowed: a node, or a list of nodes")
    for node in nodes:
        if not isinstance(node, Node):
            raise BadInput(name, node, "allowed: nodes alone")
    return list(nodes)
