"""The parts that benchmarks share: options, engines, measured searches, rounds of sides in turn, tables."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich import box
from rich.table import Table

from actors.deployment import Deployment, connect, disconnect
from orchestrator.benchmarks.paced import paced
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import Journal
from orchestrator.runs.assembly import controller_of
from orchestrator.runs.results import digest
from orchestrator.runs.session import pool_specs
from orchestrator.search.context import Transport, Usage

BY_BLOCK = ("generator.engine.kv_transfer_config=null", "verifier.engine.kv_transfer_config=null")
"""Overrides that turn an engine's reuse by the token off: it reuses whole cache blocks, as vLLM does."""
START_SECONDS = 600
HELP = {
    "config": "configuration that the runs start from",
    "problems": "problems of the configuration that are searched",
    "n": "solutions a problem",
    "rounds": "measured rounds; one more before them warms up",
    "cores": "all processes are held to so many cores",
    "repeat": "runs of a case; the median is shown",
    "out": "JSON file for the figures",
}

Figure = TypeVar("Figure")


def parser(doc: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Returns a parser of options with these defaults; their texts are in ``HELP``, and the description is
    the first paragraph of ``doc``."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n\n")[0])
    for name, default in defaults.items():
        made.add_argument(f"--{name}", type=type(default), default=default, help=HELP[name])
    return made


def hold_to(cores: int) -> int:
    """Holds this process, and all that it starts, to at most ``cores`` cores; returns their number."""
    held = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, held)
    return len(held)


def prepared(options: argparse.Namespace, *overrides: str) -> Prepared:
    """Prepares the configuration and number of problems of ``options``: one generator, and a budget that
    never ends a search."""
    common = ("generator.replicas=1", f"problems.limit={options.problems}", "budget.flops=1e18")
    pace = paced(*getattr(options, "paced", ()))
    return prepare(load(options.config, [*common, *pace, *overrides]))


@asynccontextmanager
async def engines(*kinds: Prepared) -> AsyncIterator[list[Deployment]]:
    """Starts the engines of each configuration, all in one Ray session, and ends them."""
    pools = [pool_specs(kind).started for kind in kinds]
    connect(None, [spec for specs in pools for spec in specs])
    deployments = [Deployment(*specs) for specs in pools]
    try:
        for deployment in deployments:
            await deployment.start(START_SECONDS)
        yield deployments
    finally:
        for deployment in deployments:
            await deployment.close()
        disconnect()


@dataclass(frozen=True)
class Searched:
    """A measured run of searches."""

    seconds: float
    """Wall time of the searches, from the first to the journal's last write."""
    usage: Usage
    digest: str
    """Digest of the solutions."""


async def searched(kind: Prepared, engine: Transport, at_once: int | None = None) -> Searched:
    """Searches all problems with ledger and journal: ``at_once`` of them (None: all), and when these have
    ended the next. Raises RuntimeError where a search fails."""
    at_once, usage, results = at_once or len(kind.problems), Usage(), []
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(Path(directory) / "journal.sqlite")
        began = time.perf_counter()
        for start in range(0, len(kind.problems), at_once):
            controller = controller_of(kind, engine, journal)
            controller.searches_at_once = at_once
            batch = slice(start, start + at_once)
            results += await controller.run(kind.problems[batch], kind.prompts[batch], kind.strategy)
            usage += controller.usage
        journal.close()
        seconds = time.perf_counter() - began
    if errors := [result.error for result in results if result.error]:
        raise RuntimeError(f"{len(errors)} searches failed: {errors[0]}")
    return Searched(seconds, usage, digest(results))


async def in_turn(
    sides: Mapping[str, Callable[[], Awaitable[Figure]]], rounds: int
) -> dict[str, list[Figure]]:
    """Runs all sides one after the other, round by round; returns each side's figures. One round more, the
    first, warms up and is dropped."""
    found: dict[str, list[Figure]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            figure = await side()
            if number:
                found[name].append(figure)
    return found


def same(digests: Sequence[str]) -> None:
    """Raises RuntimeError unless all digests are equal."""
    if len(set(digests)) != 1:
        raise RuntimeError("the sides found different solutions")


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Returns the ratio of each pair, round by round."""
    return [value / other for value, other in zip(values, base, strict=True)]


def spread(values: Sequence[float], form: str) -> list[str]:
    """Returns the least, the median and the largest value as text."""
    return [format(value, form) for value in (min(values), statistics.median(values), max(values))]


def table(title: str, *columns: str, left: int = 1) -> Table:
    """Makes a table whose first ``left`` columns are words and the others numbers. It has no lines between
    columns, which cost three characters each: tables are to fit a terminal of 80."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < left else "right")
    return made


def save(out: Path, found: Any) -> None:
    """Writes the figures as JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=2))


def cpu_seconds(pid: int) -> float:
    """Returns the processor time of a process, with all its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # user and system
