"""``ttc run CONFIG``: one run."""

from __future__ import annotations

import argparse

from rich.console import Console

from orchestrator.commands import launch
from orchestrator.commands.live import LivePage, add_explore_options
from orchestrator.commands.terminal import add_run_options, with_log_level
from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser(
        "run",
        epilog="for example: ttc run configs/lab.yaml budget.flops=1e11",
        help="search all problems once, with one strategy and one budget, as one MLflow run",
    )
    parser.add_argument("config", help="a YAML file, for example configs/lab.yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="keys that differ from the file's, for example budget.flops=1e11",
    )
    add_run_options(parser)
    add_explore_options(parser)
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Run the configuration of a file; return the exit status."""
    config = load(options.config, with_log_level(options))
    with LivePage(options, config.runs, errors) as page:
        return launch.run(prepare(config), options.json, errors, page=page)
