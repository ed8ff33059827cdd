"""``ttc check CONFIG``: everything that can be known of a run before it starts, on any machine."""

from __future__ import annotations

import argparse

from rich.console import Console

from orchestrator.commands.terminal import fail, results, say, show_json
from orchestrator.errors import BadInput


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
        help="keys that differ from the file's, for example budget.flops=1e11",
    )
    parser.add_argument(
        "--devices",
        metavar="KIND:GPUS",
        help="the GPUs that a run would have, as h100:8, h100:8x2 (two nodes) or 48:4 (48 GiB each)",
    )
    parser.add_argument("--json", action="store_true", help="the facts as one JSON object on stdout")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Show what can be known of a configuration; return 0, or 2 where something would fail."""
    from orchestrator.commands.check_display import page, verdict
    from orchestrator.commands.check_sweep import check_sweep
    from orchestrator.config.loading import SWEEP, layers, load
    from orchestrator.config.memory import fleet_of
    from orchestrator.config.preview import faults, preview
    from orchestrator.grading.pool import AnswersFailed

    fleet = None if options.devices is None else fleet_of(options.devices)
    if any(SWEEP in layer for layer in layers(options.config, options.overrides)):
        return check_sweep(options.config, options.overrides, options.json, errors, fleet)
    config = load(options.config, options.overrides)
    try:
        facts = preview(config, fleet)
    except BadInput as first:
        lines = list(dict.fromkeys(map(str, faults(config, first))))
        for line in lines:
            say(errors, f"ttc: {line}", "bold red")
        if options.json:
            show_json({"error": lines[0], "failures": lines})
        return 2
    except AnswersFailed as error:
        fail(errors, str(error))
        return 1
    if options.json:
        show_json(facts.to_dict())
    else:
        out = Console(file=results(), emoji=False)
        out.print(page(facts, out.width))
        say(out, *verdict(facts))
    return 2 if facts.failures else 0
