"""``ttc run CONFIG``: one run."""

from __future__ import annotations

import argparse

from rich.console import Console

from orchestrator.commands import launch
from orchestrator.config.loading import load


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the verb to the command's parser."""
    parser = commands.add_parser("run", help="one run: strategy x problems x budget, as one MLflow run")
    parser.add_argument("config", help="a YAML file, for example configs/lab.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example budget.flops=1e11")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace, errors: Console) -> int:
    """Run the configuration of a file; return the exit status."""
    return launch.run(load(options.config, options.overrides), options.json, errors)
