"""Generative selection: how the generator is shown solutions, and how its choice is read.

It is GenSelect (Toshniwal et al. 2025). What it costs is paid from the problem's own budget, of which
``selection.share`` is kept for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from orchestrator.budget.flops import CostModel
from orchestrator.config.lengths import context
from orchestrator.config.model_config import config_of
from orchestrator.config.schema import Config, SelectionConfig
from orchestrator.errors import BadInput, at_least
from orchestrator.grading.thinking import without_thinking
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem, filled

TEMPLATE = (
    "Problem:\n{problem}\n\nBelow are {count} solutions of this problem, which end in different answers.\n\n"
    "{solutions}\n\nCheck each one and compare them. Then say which is the most likely to be right: "
    'the last line of your reply is "Choice: " and the number of that solution.'
)
_FIELD = re.compile(r"\{(problem|solutions|count)\}")
_CHOICE = re.compile(r"^\W*choice:\W*(\d+)\W*$", re.IGNORECASE)
UNIFORM = "uniform"


@dataclass(frozen=True)
class PreparedSelection:
    """A generative selection that has been looked at."""

    codec: Codec
    costs: CostModel
    """The generator's costs."""
    template: str
    share: float
    group: int
    candidates: int
    writes: int
    """Tokens of a reply at most."""
    limit: int | None
    """The most tokens that the generator reads and writes; None where that is not known."""

    def tokens(self, problem: Problem, solutions: Sequence[str]) -> tuple[int, ...]:
        """Returns the token ids of the question which of these solutions is right."""
        said = {
            "problem": filled("{problem}", problem),
            "solutions": "\n\n".join(f"Solution {i}:\n{text}" for i, text in enumerate(solutions, 1)),
            "count": str(len(solutions)),
        }
        # In one pass: what is filled in may have braces.
        return self.codec.encode(_FIELD.sub(lambda field: said[field[1]], self.template))

    def shown(self, text: str) -> str:
        """Returns what is shown of a solution: what follows its thinking, which repeats itself."""
        return without_thinking(text, self.codec.end_of_thinking).strip()

    def choice(self, reply: Sequence[int], count: int) -> int | None:
        """Returns which of ``count`` solutions a reply names in its last line, from 0; None where it names
        none."""
        text = without_thinking(self.codec.solution(reply), self.codec.end_of_thinking)
        last = text.strip().rpartition("\n")[2]
        found = _CHOICE.match(last)
        number = int(found[1]) if found is not None and len(found[1]) < 6 else 0
        return number - 1 if 1 <= number <= count else None

    def cost(self, asked: int, written: int) -> int:
        """Returns the FLOPs of a question and a reply of so many tokens: no question is the beginning of
        another."""
        return self.costs.prefill(asked) + self.costs.sample(asked, written)


def check_selection(config: Config) -> None:
    """Raises BadInput for a key that is wrong, or that would change nothing."""
    section = config.selection
    if not section.generative:
        for key in fields(section):
            if (value := getattr(section, key.name)) != key.default:
                raise BadInput(f"selection.{key.name}", value, "allowed with selection.generative=true")
        return
    if not 0 < section.share < 1:
        raise BadInput("selection.share", section.share, "allowed: above 0, less than 1")
    at_least("selection.group", section.group, 2)
    at_least("selection.candidates", section.candidates, 2)
    if section.max_tokens is not None:
        at_least("selection.max_tokens", section.max_tokens, 1)
    for name in ("{problem}", "{solutions}"):
        if section.template is not None and name not in section.template:
            raise BadInput("selection.template", section.template, f"it must contain {name}")
    if config.allocation.name != UNIFORM:
        needed = "with selection.generative, which keeps a share of each problem's budget; allowed: uniform"
        raise BadInput("allocation.name", config.allocation.name, needed)


def prepare_selection(
    config: Config,
    codec: Codec,
    costs: CostModel,
    problems: Sequence[Problem],
    prompts: Sequence[tuple[int, ...]],
) -> PreparedSelection | None:
    """Returns the run's generative selection; None where it is not asked for. Raises BadInput where even a
    question about two solutions without a word does not fit the generator."""
    section, generator = config.selection, config.generator
    if not section.generative:
        return None
    limit = generator.engine.get("max_model_len") or context(config_of("generator", generator))
    found = PreparedSelection(
        codec,
        costs,
        section.template or TEMPLATE,
        section.share,
        section.group,
        section.candidates,
        section.max_tokens or generator.max_tokens,
        limit,
    )
    longest = max(range(len(prompts)), key=lambda index: len(prompts[index]))
    asked = len(found.tokens(problems[longest], ("", "")))
    if limit is not None and asked + found.writes > limit:
        needed = (
            f"the question about problem {problems[longest].id} has {asked} tokens before any solution, and "
            f"the generator reads and writes {limit}; allowed: {max(1, limit - asked)} or less, or a larger "
            "generator.engine.max_model_len"
        )
        raise BadInput("selection.max_tokens", found.writes, needed)
    return found


def kept_of(section: SelectionConfig, share: int) -> int:
    """Returns the FLOPs of a problem's ``share`` that are kept for its selection."""
    return kept(section.share, share) if section.generative else 0


def kept(part: float, share: int) -> int:
    """Returns the FLOPs that ``part`` of a problem's ``share`` is."""
    return int(share * part)
