"""The page of ``ttc check``: facts in a table, texts as the models read them, then doubts and failures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from os.path import expanduser
from pathlib import Path

from rich.cells import cell_len, chop_cells
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from orchestrator.budget.units import in_flops
from orchestrator.config.memory import GIB, FleetFit
from orchestrator.config.models import ModelFacts
from orchestrator.config.preview import Preview
from orchestrator.config.rendering import MARK
from orchestrator.errors import counted
from orchestrator.formats.registry import FUNCTION

PROMPT_ROWS = (7, 4)
"""Rows of a long prompt that are shown: its first and its last ones."""
INPUT_ROWS = (3, 8)
"""The same of what the verifier is shown, whose scores are at its end."""
NEWLINE, TAB = "↵", "⇥"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal would obey."""
LEFT_OUT = "… {} characters …"
SPECIAL, SCORE = "cyan", "bold magenta"


def page(facts: Preview, width: int) -> RenderableType:
    """Returns the page for a terminal of so many columns."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(name, escape(value))
    parts: list[RenderableType] = [
        table,
        _rule("prompt of the first problem"),
        _shown(facts.prompt, facts.special, PROMPT_ROWS, width),
    ]
    if facts.verifier is not None:
        inputs = facts.verifier.inputs
        of = "" if len(inputs) == 1 else f", {len(inputs)} of {len(inputs)}"
        parts += [
            _rule(f"what the verifier reads{of}"),
            _shown(inputs[-1], (*facts.special, MARK), INPUT_ROWS, width),
        ]
    if facts.judge is not None:
        parts += [
            _rule("what the judge of answers reads"),
            _shown(facts.judge, (*facts.special, MARK), INPUT_ROWS, width),
        ]
    if facts.selection is not None:
        parts += [
            _rule("what the generator reads to choose between two solutions"),
            _shown(facts.selection, facts.special, INPUT_ROWS, width),
        ]
    parts.append(Rule(style="dim"))
    parts += [line("here ", lack, "yellow") for lack in facts.machine.lacks]
    parts += [line("here ", facts.machine.crowded, "yellow")] if facts.machine.crowded else []
    parts += [line("doubt", doubt, "yellow") for doubt in facts.doubts]
    parts += [line("fails", failure, "bold red") for failure in facts.failures]
    return Group(*parts)


def verdict(facts: Preview) -> tuple[str, str]:
    """Returns the last line, and its style."""
    fails, doubts = len(facts.failures), len(facts.doubts)
    said = f"{fails} thing{'s' if fails > 1 else ''} would fail" if fails else "nothing would fail"
    said += "; it cannot run on this machine" if facts.machine.lacks else ""
    said += "; it hardly fits on this machine" if facts.machine.crowded else ""
    said += f"; {doubts} doubt{'s' if doubts > 1 else ''}" if doubts else ""
    unsure = doubts or facts.machine.lacks or facts.machine.crowded
    return said, "bold red" if fails else "yellow" if unsure else "green"


def _rows(facts: Preview) -> Iterator[tuple[str, str]]:
    params = " ".join(f"{key}={value}" for key, value in facts.strategy.items() if key != "name")
    yield "run", facts.name
    yield "strategy", f"{facts.strategy['name']} {params}".strip()
    for model in facts.models:
        yield from _model(model)
        if model.role == "generator":
            yield "", f"sampling: {_sampling(facts)}"
        if model.role == "verifier" and facts.verifier is not None:
            by = "" if facts.verifier.given else " (by its config.json)"
            format = f"format {facts.verifier.format}{by}"
            yield "", f"{format} scores {facts.verifier.scores}: {facts.verifier.reads}"
    if facts.verifier is not None and facts.verifier.format == FUNCTION:
        yield "verifier", f"function {facts.verifier.reads} scores {facts.verifier.scores}"
    yield from _problems(facts)
    for trial in facts.trials:
        if trial.returned is not None:
            yield trial.key.partition(".")[0], f"{Path(trial.name).name} {trial.returned}"
    yield from _cost(facts)
    yield "machines", "; ".join(_pools(facts))
    if facts.fit is not None:
        yield from _fit(facts.fit)
    here = f"{facts.machine.cpus} CPUs, {facts.machine.gpus or 'no'} GPUs"
    yield "", f"this one has {here}; vLLM {facts.machine.vllm or 'is not installed'}"


def _model(model: ModelFacts) -> Iterator[tuple[str, str]]:
    # By its name alone where it is a directory: the whole path is the user's own.
    name = Path(model.model).name if Path(expanduser(model.model)).is_dir() else model.model
    revision = f" at {model.revision}" if model.revision else ""
    yield model.role, f"{name}{revision}: {model.architecture}, {_count(model.parameters)} parameters"
    size = "quantised" if model.weight_bytes is None else f"{_bytes(model.weight_bytes)} of weights"
    size += f" and {_bytes(model.token_bytes)} of cache a token" if model.token_bytes else ""
    context = "unknown" if model.context is None else f"{model.context:,} tokens"
    yield "", f"{model.dtype}, {size}; context {context}"
    template = "a chat template" if model.chat_template else "no chat template"
    begin = f", begins with {model.begin}" if model.begin else ""
    yield "", f"vocabulary of {model.vocabulary:,}, {template}{begin}"
    if model.adapter:
        yield "", f"adapter {Path(model.adapter).name}"


def _sampling(facts: Preview) -> str:
    own = set(facts.taken)
    named = [f"{key} {value:,g}{' (its own)' if key in own else ''}" for key, value in facts.sampling.items()]
    return ", ".join(named)


def _problems(facts: Preview) -> Iterator[tuple[str, str]]:
    found = facts.problems
    skipped = f", {len(found.skipped):,} skipped: too long" if found.skipped else ""
    yield "problems", f"{found.count:,} of {found.source}{skipped}"
    least, middle, most = found.prompt_tokens
    lengths = f"{least:,} tokens" if least == most else f"{least:,} to {most:,} tokens, median {middle:,}"
    choices = ""
    if found.choices is not None:
        few, many = found.choices
        choices = f"; {few if few == many else f'{few} to {many}'} choices"
    yield "", f"prompts of {lengths}; up to {found.longest_tokens:,} with a solution{choices}"
    if found.attributes:
        yield "", "by " + ", ".join(f"{name} ({count})" for name, count in found.attributes.items())
    right = found.count - len(found.wrong)
    yield "answers", f"{found.answers}: takes {right:,} of the {found.count:,} problems' own answers"


def _cost(facts: Preview) -> Iterator[tuple[str, str]]:
    cost, tokens = facts.cost, facts.cost.budget["solution_tokens"]
    asked, buys = cost.described
    yield "budget", asked
    yield "", f"buys {buys}"
    verified = f" + verifier {in_flops(cost.verifier_flops)}" if cost.verifier_flops else ""
    yield "", f"a solution of {tokens:,} tokens: generator {in_flops(cost.generator_flops)}{verified}"
    if cost.worst is not None:
        share = cost.worst / cost.budget["flops_per_problem"]
        yield "", f"a median problem takes {in_flops(cost.worst)} at most: {100 * share:.0f} % of its share"
    samples, flops = cost.beside
    if samples:
        yield "", f"beside it, no search: {counted(samples, 'sample')} a problem, {in_flops(flops)} at most"


def _pools(facts: Preview) -> Iterator[str]:
    for pool in facts.pools:
        others = "".join(f", {held:g} {name}" for name, held in pool.custom.items())
        gpus = f", {pool.gpus:g} GPU" if pool.gpus else ""
        yield f"{pool.replicas} × {pool.role} ({pool.cpus:g} CPU{gpus}{others})"


def _fit(fit: FleetFit) -> Iterator[tuple[str, str]]:
    taken = "" if fit.nodes is None else f", {counted(fit.nodes, 'node')}"
    yield "memory", f"on {fit.fleet}; the replicas take {fit.gpus:g} GPU{taken}"
    for pool in fit.pools:
        need = "unknown" if pool.needed_bytes is None else f"about {pool.needed_bytes / GIB:.1f} GiB at least"
        cache = "" if pool.cache_tokens is None else f"; cache of {pool.cache_tokens:,} tokens"
        paths = "" if pool.paths is None else f", {pool.paths:,.1f} longest paths at once"
        yield "", f"{pool.role}, of each GPU: {need}, {pool.usable_bytes / GIB:.1f} to take{cache}{paths}"


def _rule(title: str) -> Rule:
    return Rule(Text(title, style="bold"), align="left", style="dim")


def line(name: str, text: str, style: str) -> Table:
    """Returns a line with its kind before it, which goes on below itself."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style=style)
    table.add_column(overflow="fold")
    table.add_row(name, escape(text))
    return table


def _shown(text: str, special: Sequence[str], rows: tuple[int, int], width: int) -> RenderableType:
    """The text with special tokens in colour and a sign at each end of a line, cut in its middle."""
    lines = [Text(row) for row in cut(text, special, rows, width - 2)]
    for line in lines:
        line.highlight_words([*special], SPECIAL)
        line.highlight_words([MARK], SCORE)
        line.highlight_words([NEWLINE, TAB], "dim")
        line.highlight_regex(LEFT_OUT.format(r"[\d,]+"), "dim italic")
    return Padding(Group(*lines), (0, 0, 0, 2))


def cut(text: str, special: Sequence[str], rows: tuple[int, int], width: int) -> list[str]:
    """Returns the rows that a text takes, with a sign at the end of each of its lines. A row ends between
    words where it can, and never inside a ``special`` word that fits.

    Where they are more than the first and last of ``rows``, a row in their place says how many characters are
    left out.
    """
    text = CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text.replace("\t", TAB))
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    found = [row for line in lines for row in _wrapped(line, special, width)]
    first, last = rows
    if len(found) <= first + last + 2:
        return found
    left_out = sum(len(row.replace(NEWLINE, "\n")) for row in found[first:-last])
    return [*found[:first], LEFT_OUT.format(f"{left_out:,}"), *found[-last:]]


def _wrapped(line: str, special: Sequence[str], width: int) -> list[str]:
    """The rows of a line; all of them together are the line."""
    whole = "|".join(map(re.escape, special)) or "(?!)"
    words = re.findall(rf"{whole}|(?:(?!{whole})\S)+ ?|\s", line.replace("\n", NEWLINE))
    found = [""]
    for word in words:
        for piece in chop_cells(word, width):
            if cell_len(found[-1]) + cell_len(piece) > width:
                found.append("")
            found[-1] += piece
    return found


def _count(number: int) -> str:
    for size, name in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.3g}{name}"
    return str(number)


def _bytes(number: int) -> str:
    for size, name in ((10**9, "GB"), (10**6, "MB")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number / 1000:.3g} kB"
