"""Numbers, models, strategies and options as text, for tables, figures and claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.allocation.policy import known_as
from orchestrator.analysis.options import Option, short, shown
from orchestrator.analysis.savings import Saving
from orchestrator.analysis.words import MISSING, with_interval
from orchestrator.budget.units import si
from orchestrator.errors import counted
from orchestrator.report.evidence import UNIFORM, Group, allocation_of, apart


def factor(saving: Saving, unit: str = "") -> str:
    """Returns a factor with its interval: ``4.90 [4.30, 5.60]``; where the true one may be larger
    ``≥ 4.90 [4.30, ∞)``."""
    if not saving.at_least:
        return with_interval(saving.factor, unit=unit)
    return f"≥ {saving.factor.value:.2f}{unit} [{saving.factor.low:.2f}, ∞)"


def words(strategy: Any) -> str:
    """Returns a strategy's name and all its parameters."""
    return " ".join([str(strategy["name"]), *(f"{k}={v}" for k, v in strategy.items() if k != "name")])


def name(option: Option) -> str:
    """Returns an option's label, and its allocation where that is not ``uniform``."""
    allocation = allocation_of(option)
    return option.label if allocation == UNIFORM else f"{option.label}, {allocation}"


def budget(option: Option) -> str:
    """Returns the budget per problem: its FLOPs, and its generations where it was given as such."""
    generations = (option.cells[0].config.get("budget") or {}).get("generations")
    return si(option.budget) + (f" ({counted(generations, 'generation')})" if generations is not None else "")


def shortened(text: str, most: int) -> str:
    """Returns a text of at most ``most`` characters, of which the last shows that there are more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def setting(value: Any) -> str:
    """Returns a value of ``Cell.setting``; ``MISSING`` for None."""
    return MISSING if value is None else shown(value)


def model(path: Any) -> str:
    """Returns a model's name: a directory's last part; ``MISSING`` for None."""
    return MISSING if path is None else known_as(str(path))


def group_words(group: Group, groups: Sequence[Group], key: str = "verifier.model") -> str:
    """Returns one model of a group, and the other keys, except models, that tell it from the other groups."""
    models = ("generator.model", "verifier.model")
    others = [k for k in apart(groups) if k not in models and group.models[k] is not None]
    return " ".join([model(group.models[key]), *(f"{short(k)}={shown(group.models[k])}" for k in others)])
