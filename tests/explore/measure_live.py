"""Measures what the live page costs the searches: ``python -m tests.explore.measure_live PAIRS PROBLEMS``.

The same searches of the lab run without the page and with it, in turn: a beam search of 32 paths, whose
engines are scripted and answer after some milliseconds, so that the controller is what is busy. A reader in a
process of its own reads the page as a browser does: all events, and at each the search that is at work.
Printed are the ratio of the times, with over without, and the CPU time of the controller and of the page's
own process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

from rich.console import Console

from actors.messages import SampleRequest, SampleResult, ScoreRequest, ScoreResult
from orchestrator.budget.ledger import Lease
from orchestrator.commands.live import LivePage
from orchestrator.config.generator import codec_of
from orchestrator.config.loading import load
from orchestrator.config.written import to_yaml
from orchestrator.durability.journal import Journal
from orchestrator.grading.grader import grader
from orchestrator.problems.lab import problems as lab_problems
from orchestrator.runs.controller import Controller, SearchResult
from orchestrator.runs.results_file import ResultsFile
from orchestrator.runs.times import TimesFile
from orchestrator.search.context import Sampling, SearchContext
from orchestrator.search.selection import rules
from orchestrator.strategies.registry import find
from tests.support.lab_engine import sampled, scored
from tests.support.paths import LAB_CONFIG
from tests.support.scripted import GENERATOR, VERIFIER

BUDGET = 10**13
START_SECONDS = 6.0
"""Seconds before the searches, in which engines would start, and the page's process does."""


class Engine:
    async def sample(self, request: SampleRequest) -> SampleResult:
        await asyncio.sleep(0.02)
        return sampled(request)

    revise = sample

    async def score(self, request: ScoreRequest) -> ScoreResult:
        await asyncio.sleep(0.01)
        return scored(request)


class Cost(NamedTuple):
    seconds: float
    controller: float
    """CPU seconds of this process."""
    server: float
    """CPU seconds of the page's own."""
    operations: int


def read(url: str) -> None:
    """Reads a live page until it ends."""
    problem = None
    with urlopen(f"{url}events", timeout=600) as events:
        for line in events:
            if not line.startswith(b'data: {"run"'):
                continue
            data = json.loads(line[6:])
            going = [row[0] for _, row in data["news"]["rows"] if not row[-1]]
            problem = problem if problem in going or not going else going[0]
            if problem is not None:
                with urlopen(f"{url}tree?{urlencode({'run': data['run'], 'problem': problem})}") as tree:
                    tree.read()


def searched(runs: Path, name: str, problems: int, *, shown: bool) -> Cost:
    """Searches these problems; with a page and its reader where it is ``shown``."""
    directory = runs / name
    directory.mkdir()
    config = load(LAB_CONFIG, [f"runs={runs}", f"problems.limit={problems}"])
    (directory / "config.yaml").write_text(to_yaml(config))
    codec, asked = codec_of(config.generator), lab_problems("test")[:problems]
    journal, file = Journal(directory / "journal.sqlite"), ResultsFile(directory)
    sampling = Sampling(max_step_tokens=8, max_tokens=48)
    times, noted = TimesFile(directory), {problem.id: {} for problem in asked}
    context = SearchContext(
        Engine(), codec, GENERATOR, VERIFIER, sampling=sampling, journal=journal, times=noted
    )

    def on_result(result: SearchResult) -> None:  # as ``runs.run`` does
        file.add(result)
        times.add(result.problem.id, noted.pop(result.problem.id))

    controller = Controller(
        context, grader("exact"), Lease(BUDGET), rules(scored=True, chains=False), 64, on_result=on_result
    )
    strategy, said = find("beam_search"), StringIO()
    options = argparse.Namespace(explore=shown, explore_port=None)
    with LivePage(options, str(runs), Console(file=said, width=200)) as page:
        page.begin(name, SimpleNamespace(budget=SimpleNamespace(flops=BUDGET)))  # type: ignore[arg-type]
        server = page._process
        if server is not None:
            address = said.getvalue().split()[-1]
            multiprocessing.get_context("spawn").Process(target=read, args=(address,), daemon=True).start()
        time.sleep(START_SECONDS)
        began = time.monotonic(), time.process_time(), cpu_of(server.pid) if server else 0.0
        prompts = [codec.encode(problem.prompt) for problem in asked]
        results = asyncio.run(controller.run(asked, prompts, lambda ops: strategy(ops, n=32, width=4)))
        journal.flush()
        ended = time.monotonic(), time.process_time(), cpu_of(server.pid) if server else 0.0
        journal.close()
        file.close(results)
    return Cost(*(b - a for a, b in zip(began, ended, strict=True)), controller.usage.operations)


def cpu_of(process: int) -> float:
    """Returns the CPU seconds that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(pairs: int = 6, problems: int = 150) -> None:
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as directory:
        searched(Path(directory), "warm", min(problems, 20), shown=False)
        for pair in range(pairs):
            found = {
                shown: searched(Path(directory), f"{pair}-{shown}", problems, shown=shown)
                for shown in ((False, True) if pair % 2 else (True, False))
            }
            a, b = found[True], found[False]
            ratios.append((a.seconds / b.seconds, a.controller / b.controller))
            print(
                f"{a.operations:,} operations: {a.seconds:.1f} s with the page, {b.seconds:.1f} without, "
                f"{ratios[-1][0]:.3f}; the controller's CPU {a.controller:.2f} and {b.controller:.2f} s, "
                f"{ratios[-1][1]:.3f}; the page's {a.server:.2f} s; load {os.getloadavg()[0]:.0f}",
                flush=True,
            )
    seconds, cpu = (statistics.median(each) for each in zip(*ratios, strict=True))
    print(f"medians: {seconds:.3f} of the time, {cpu:.3f} of the controller's CPU time")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
