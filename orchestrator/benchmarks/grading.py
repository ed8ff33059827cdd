"""How long grading takes: solutions as models write them, to problems as competitions have them.

``python -m orchestrator.benchmarks.grading`` prints seconds. Two in five answers are wrong, some in a way of
their own; some texts have no box; one in a thousand has an answer that no computer can evaluate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.grading.grader import Grader
from orchestrator.grading.math import Math
from orchestrator.grading.pool import Pool

HOSTILE = (r"9^{9^{9^9}}", r"10^{10^{10}}", r"\sum_{k=1}^{2023} k^k", r"\binom{10^{9}}{10^{8}}", "(" * 300)
WORDS = [
    "we",
    "first",
    "consider",
    "the",
    "case",
    "where",
    "the",
    "number",
    "is",
    "even",
    "and",
    "then",
    "note",
    "that",
    "by",
    "symmetry",
    "both",
    "sides",
    "agree",
    "so",
    "that",
    "substituting",
    "back",
    "gives",
    "the",
    "same",
    "equation",
    "which",
    "we",
    "simplify",
    "step",
    "by",
    "step",
]


def truth(rng: random.Random) -> tuple[str, list[str]]:
    """Returns the answer of a problem, and other ways to write it."""
    n, m = rng.randint(2, 9999), rng.randint(2, 60)
    kind = rng.randrange(6)
    if kind == 0:
        return str(n), [f"{n:,}", f"x = {n}", rf"{n}\text{{ cm}}", f"{n}.0", rf"\${n}"]
    if kind == 1:
        return rf"\frac{{{n}}}{{{m}}}", [
            f"{n}/{m}",
            rf"\dfrac{{{n}}}{{{m}}}",
            rf"\frac{{{2 * n}}}{{{2 * m}}}",
        ]
    if kind == 2:
        return rf"{m}\sqrt{{{n}}}", [rf"\sqrt{{{n * m * m}}}", rf"{m} \cdot \sqrt{{{n}}}"]
    if kind == 3:
        return f"x^2-{m}x+{n}", [f"{n}-{m}x+x^2", f"x(x-{m})+{n}"]
    if kind == 4:
        return f"({m}, {n})", [rf"\left({m},{n}\right)", f"x={m}, y={n}"]
    return rf"{m}\pi, {n}", [rf"{n}, {m}\pi", rf"{n} \text{{ and }} {m} \pi"]


def solution(answer: str, rng: random.Random) -> str:
    """Returns the text of a solution: some hundred words, then its answer, mostly in a box."""
    work = []
    for _ in range(rng.randint(4, 30)):
        words = " ".join(rng.choices(WORDS, k=12))
        work.append(f"{words} $x_{{{rng.randint(1, 9)}}} = {rng.randint(1, 999)}$.")
    shape = rng.random()
    if shape < 0.85:
        work.append(rf"The final answer is $\boxed{{{answer}}}$.")
    elif shape < 0.95:
        work.append(f"**Answer:** ${answer}$")
    else:
        work += [f"so we get {rng.randint(1, 99)} here"] * 40  # a long text that ends nowhere
    return "\n\n".join(work)


def problems(number: int, samples: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Returns, for each problem, its answer and the texts of its solutions."""
    rng = random.Random(seed)
    made = []
    for _ in range(number):
        right, others = truth(rng)
        wrong = [truth(rng)[0] for _ in range(rng.randint(5, 40))]
        answers = []
        for _ in range(samples):
            pick = rng.random()
            hostile = rng.choice(HOSTILE) if pick < 0.001 else None
            written = rng.choice(others) if pick < 0.3 else right
            answers.append(hostile or (rng.choice(wrong) if rng.random() < 0.4 else written))
        made.append((right, [solution(answer, rng) for answer in answers]))
    return made


async def grade(pool: Pool, made: Sequence[tuple[str, list[str]]]) -> tuple[int, int, Grader]:
    """Returns how many solutions are right, and how many different answers there are."""
    grader = Grader(Math(), pool=lambda: pool)
    slots = asyncio.Semaphore(32)

    async def one(right: str, texts: list[str]) -> tuple[int, int]:
        async with slots:
            read = await grader.read(texts)
            judged = await grader.right((right,), [reading.answer for reading in read])
            return sum(judged), len({reading.key for reading in read})

    counts = await asyncio.gather(*(one(right, texts) for right, texts in made))
    return sum(c[0] for c in counts), sum(c[1] for c in counts), grader


def main() -> None:
    """Print the seconds; write them with --out."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.benchmarks.grading", description=main.__doc__
    )
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args()
    made = problems(options.problems, options.samples)
    pool = Pool(options.processes)
    began = time.perf_counter()
    right, distinct, grader = asyncio.run(grade(pool, made))
    seconds = time.perf_counter() - began
    pool.close()
    total = options.problems * options.samples
    found = {
        "solutions": total,
        "characters": sum(len(text) for _, texts in made for text in texts),
        "right": right,
        "distinct": distinct,
        "ungraded": dict(grader.counts),
        "processes": options.processes,
        "seconds": round(seconds, 1),
        "per_second": round(total / seconds),
    }
    print(json.dumps(found))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
