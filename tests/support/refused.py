"""What a command with bad input says."""

from __future__ import annotations

from orchestrator.commands.cli import run_command


def refused(capsys, *arguments: str) -> str:
    """The one line that a command with bad input prints."""
    status = run_command(arguments)
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1, err
    return err
