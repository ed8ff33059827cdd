"""The help of each command says what the command does, and what each of its arguments is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from orchestrator.commands import cli


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in dict.fromkeys(action.choices.values()):
                yield from parsers(one)


ALL = {parser.prog: parser for parser in parsers(cli._parser())}


@pytest.mark.parametrize("command", ALL)
def test_a_command_and_its_arguments_say_what_they_are(command: str) -> None:
    parser = ALL[command]
    assert parser.description
    assert parser.description[0].isupper()
    assert parser.description.endswith(".")
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, action.dest
            assert action.help[0].isalnum(), action.help
