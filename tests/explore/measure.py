"""Measures the page of a large run: ``python -m tests.explore.measure [PROBLEMS]`` prints its size, how long
it takes to open in Chromium, and how long a click takes.

The run is of a scripted engine: a beam search of 32 paths over 8 steps, 256 nodes a problem, a step of about
200 characters of words as frequent as Zipf's law has them, and a number for an answer. ``SEARCHED`` problems
are searched, and stand in the page again and again under other names. Each search is packed by itself, and
unpacked when it is looked at, so that changes neither sizes nor times.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from msgspec.structs import replace

from actors.messages import SampleRequest
from orchestrator.explore.description import Explored, Tree
from orchestrator.explore.page import write
from orchestrator.explore.run import RunReader
from orchestrator.problems.problem import Problem
from orchestrator.search.context import Sampling
from tests.support.browser import browsed
from tests.support.explored import reader, searched
from tests.support.scripted import EOS, ScriptedEngine

STEPS, LETTERS = 8, 200
WORDS = [
    "".join(random.Random(seed).choices("etaoinshrdlucmfwyp", k=random.Random(seed).randint(2, 9)))
    for seed in range(3000)
]
FREQUENCIES = [*accumulate(1 / rank for rank in range(1, len(WORDS) + 1))]
SEARCHED = 20
CLICKED = """async () => {
  const place = document.getElementById("problem"), links = [...document.querySelectorAll(".rows a")];
  const taken = [];
  for (let at = 1; at <= 20; at += 1) {
    const began = performance.now();
    links[(at * 7) % links.length].click();
    const wanted = `0 ${links[(at * 7) % links.length].dataset.problem} search`;
    while (place.dataset.ready !== wanted) await new Promise((next) => setTimeout(next, 0));
    place.getBoundingClientRect(); // laid out
    taken.push(performance.now() - began);
  }
  return taken;
}"""


def prose(request: SampleRequest, text: str, rng: random.Random) -> str:
    words = ""
    while len(words) < LETTERS:
        words += " ".join(rng.choices(WORDS, cum_weights=FREQUENCIES, k=8)) + " "
    return words + (f"{rng.randrange(9)}{EOS}" if text.count("\n") == STEPS - 1 else "\n")


class Repeated:
    """A run whose searches stand there several times, until there are ``problems`` of them."""

    def __init__(self, reader: RunReader, problems: int) -> None:
        self._reader, self._problems = reader, problems

    def trees(self) -> Iterator[Tree]:
        trees = [*self._reader.trees()]
        for number in range(self._problems):
            yield replace(trees[number % len(trees)], problem=f"problem-{number:04}")

    def explored(self) -> Explored:
        found = self._reader.explored()
        rows = [
            replace(found.rows[number % len(found.rows)], problem=f"problem-{number:04}")
            for number in range(self._problems)
        ]
        return replace(found, rows=tuple(rows))


def main(problems: int = 500) -> None:
    asked = [Problem(f"p{i}", f"{i} and more?", "7", float(i % 9)) for i in range(min(problems, SEARCHED))]
    with tempfile.TemporaryDirectory() as directory:
        run, out = Path(directory) / "run", Path(directory) / "explore.html"
        sampling = Sampling(max_step_tokens=2 * LETTERS, max_tokens=20 * LETTERS)
        options = {
            "problems": asked,
            "budget": 10**15,
            "answers": "number",
            "context": {"sampling": sampling},
        }
        asyncio.run(searched(run, "beam_search", ScriptedEngine(prose), n=32, width=4, **options))
        with reader(run) as read:
            (explored,) = write([Repeated(read, problems)], out)
        nodes = sum(row.nodes for row in explored.rows)
        print(f"{len(explored.rows)} problems, {nodes:,} nodes: {out.stat().st_size / 1e6:.1f} MB")
        with browsed() as watched:
            opened = [watched.open(out) for _ in range(3)]
            print("opened in", ", ".join(f"{ms / 1000:.2f}" for ms in opened), "s")
            session = watched.page.context.new_cdp_session(watched.page)
            session.send("Performance.enable")

            def worked() -> float:
                found = session.send("Performance.getMetrics")["metrics"]
                return next(metric["value"] for metric in found if metric["name"] == "ThreadTime")

            before = worked()
            clicks = sorted(watched.page.evaluate(f"({CLICKED})()"))
            own = 1000 * (worked() - before) / len(clicks)
            print(f"a click on a problem: median {clicks[len(clicks) // 2]:.0f} ms,", end=" ")
            print(f"least {clicks[0]:.0f}, most {clicks[-1]:.0f}; the page's own work in it {own:.0f} ms")
            print("processes that wanted a core meanwhile:", *(f"{load:.0f}" for load in os.getloadavg()[:2]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
