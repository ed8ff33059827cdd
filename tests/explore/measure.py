"""Measures the page of a large run: ``python -m tests.explore.measure [PROBLEMS]`` prints its size, how long it
takes to open in Chromium, and how long a click takes.

The run is of a scripted engine: a beam search of 32 paths over 8 steps, 256 nodes a problem, a step of about
200 characters of words as frequent as Zipf's law has them, and a number for an answer.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from actors.messages import SampleRequest
from orchestrator.explore.page import write
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
FREQUENCIES = [1 / rank for rank in range(1, len(WORDS) + 1)]
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
        words += " ".join(rng.choices(WORDS, FREQUENCIES, k=8)) + " "
    return words + (f"{rng.randrange(9)}{EOS}" if text.count("\n") == STEPS - 1 else "\n")


def main(problems: int = 500) -> None:
    asked = [Problem(f"problem-{i:04}", f"{i} and more?", "7", float(i % 9)) for i in range(problems)]
    with tempfile.TemporaryDirectory() as directory:
        run, out = Path(directory) / "run", Path(directory) / "explore.html"
        asyncio.run(
            searched(
                run,
                "beam_search",
                ScriptedEngine(prose),
                problems=asked,
                budget=10**15,
                answers="number",
                context={"sampling": Sampling(max_step_tokens=2 * LETTERS, max_tokens=20 * LETTERS)},
                n=32,
                width=4,
            )
        )
        began = time.monotonic()
        with reader(run) as read:
            (explored,) = write([read], out)
        nodes = sum(row.nodes for row in explored.rows)
        print(f"{len(explored.rows)} problems, {nodes:,} nodes: {out.stat().st_size / 1e6:.1f} MB,", end=" ")
        print(f"written in {time.monotonic() - began:.1f} s")
        with browsed() as watched:
            opened = [watched.open(out) for _ in range(3)]
            print("opened in", ", ".join(f"{ms / 1000:.2f}" for ms in opened), "s")
            clicks = sorted(watched.page.evaluate(f"({CLICKED})()"))
            print(f"a click on a problem: median {clicks[10]:.0f} ms, longest {clicks[-1]:.0f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
