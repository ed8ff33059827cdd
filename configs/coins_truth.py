"""Exact verifiers of the lab's second task, as functions: what a search finds where none errs."""

from __future__ import annotations

from orchestrator.problems.coins import read_lines

RIGHT, WRONG = 0.98, 0.02


def true(problem: str, steps: list[str]) -> list[float]:
    """Scores whether each line is true: the coin was still there, and the numbers are what they are."""
    return [RIGHT if line.true else WRONG for line in _lines(problem, steps)]


def hopeful(problem: str, steps: list[str]) -> list[float]:
    """Scores whether each line is true, and the coins that are left can still pay the rest."""
    return [RIGHT if line.hopeful else WRONG for line in _lines(problem, steps)]


def _lines(problem, steps):
    return read_lines(problem, "\n".join(step.strip("\n") for step in steps))
