"""``ttc check CONFIG …``: everything that can be known of a run before it starts, on any machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.commands.terminal import fail, results, say, show_json
from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.config.memory import Fleet

FILES = (".yaml", ".yml")
"""How the name of a second file ends; anything else is a key that differs."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "check",
        epilog="for example: ttc check configs/lab.yaml",
        help="tell what a run would do, fail at and cost, on any machine; nothing is started",
    )
    parser.add_argument("config", help="a YAML file, for example configs/lab.yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="keys that differ from the file's, for example budget.flops=1e11; or more files to check",
    )
    parser.add_argument(
        "--devices",
        metavar="KIND:GPUS",
        help="the GPUs that a run would have, as h100:8, h100:8x2 (two nodes) or 48:4 (48 GiB each)",
    )
    parser.add_argument(
        "--json", action="store_true", help="the facts as one JSON object on stdout, of several files by file"
    )
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Show what can be known of each configuration; return 0, or 2 where something would fail."""
    from orchestrator.config.memory import fleet_of
    from orchestrator.grading.pool import AnswersFailed

    fleet = None if options.devices is None else fleet_of(options.devices)
    others = [given for given in options.overrides if given.endswith(FILES) and "=" not in given]
    overrides = [given for given in options.overrides if given not in others]
    if not others:
        try:
            return _check(options.config, overrides, fleet, show_json if options.json else None, errors)
        except AnswersFailed as error:
            fail(errors, str(error))
            return 1
    told: dict[str, object] = {}
    statuses = set()
    for path in dict.fromkeys([options.config, *others]):
        if not options.json:
            say(Console(file=results(), emoji=False), path, "bold underline")
        keep = partial(told.__setitem__, path) if options.json else None
        try:
            statuses.add(_check(path, overrides, fleet, keep, errors, f"{path}: "))
        except (BadInput, AnswersFailed) as failure:
            fail(errors, f"{path}: {failure}")
            told[path] = {"error": str(failure)}
            statuses.add(2 if isinstance(failure, BadInput) else 1)
    if options.json:
        show_json(told)
    return max(statuses)


def _check(
    path: str,
    overrides: Sequence[str],
    fleet: Fleet | None,
    keep: Callable[[object], None] | None,
    errors: Console,
    place: str = "",
) -> int:
    """Shows what can be known of a configuration, or has its facts kept. Returns 0, or 2 where something
    would fail, which is said with the ``place`` that has it. Raises BadInput and AnswersFailed."""
    from orchestrator.commands.check_display import page, verdict
    from orchestrator.commands.check_sweep import check_sweep
    from orchestrator.config.loading import SWEEP, layers, load
    from orchestrator.config.preview import faults, preview

    if any(SWEEP in layer for layer in layers(path, overrides)):
        return check_sweep(path, overrides, keep, fleet)
    config = load(path, overrides)
    try:
        facts = preview(config, fleet)
    except BadInput as first:
        lines = list(dict.fromkeys(map(str, faults(config, first))))
        for line in lines:
            say(errors, f"ttc: {place}{line}", "bold red")
        if keep is not None:
            keep({"error": lines[0], "failures": lines})
        return 2
    if keep is not None:
        keep(facts.to_dict())
    else:
        out = Console(file=results(), emoji=False)
        out.print(page(facts, out.width))
        say(out, *verdict(facts))
    return 2 if facts.failures else 0
