"""Benchmark: best-of-N through the whole orchestrator against vLLM's offline batch.

Both engines live in one Ray session on the same cores, run the same requests (same prompts, same seeds)
in turn, and the figure is the ratio of each pair: what is measured is the orchestrator's cost and not
the machine's mood. With ``--paced`` the engines take the time of a device (``paced``). Run with
``make bench``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from actors.deployment import Deployment, connect, disconnect
from actors.messages import SampleRequest
from orchestrator.benchmarks import LAB_CONFIG
from orchestrator.benchmarks.offline_actor import OfflineActor
from orchestrator.benchmarks.paced import PACED, paced
from orchestrator.benchmarks.recomputation import BY_BLOCK
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import Journal
from orchestrator.runs.run import controller_of
from orchestrator.runs.session import pool_specs
from orchestrator.search.planning import seed_of


def best_of_n_requests(prepared: Prepared, n: int) -> list[SampleRequest]:
    """The requests that best-of-N makes, in its order."""
    generator, seed = prepared.config.generator, prepared.config.seed
    return [
        SampleRequest(
            f"{problem.id}/{i}",
            prompt,
            seed_of(seed, problem.id, str(i)),
            generator.max_tokens,
            "end",
            generator.temperature,
            generator.top_p,
        )
        for problem, prompt in zip(prepared.problems, prepared.prompts, strict=True)
        for i in range(n)
    ]


async def through_the_orchestrator(
    prepared: Prepared, deployment: Deployment, journal: Path
) -> tuple[float, int]:
    """Seconds of a whole search (ledger, journal, pool, selection), and the tokens it generated."""
    recorder = Journal(journal)
    controller = controller_of(prepared, deployment, recorder)
    controller.searches_at_once = len(prepared.problems)
    began = time.perf_counter()
    await controller.run(prepared.problems, prepared.prompts, prepared.strategy)
    recorder.close()
    seconds = time.perf_counter() - began
    prompts = sum(map(len, prepared.prompts))
    return seconds, controller.usage.generator_tokens - prompts


async def run(prepared: Prepared, n: int, rounds: int) -> dict[str, list[float]]:
    """Tokens/s of each side, round by round, the two in turn; the first round warms up and is dropped."""
    generators, *_ = pool_specs(prepared)
    connect(None, [generators, generators])
    deployment = Deployment(generators)
    requests = best_of_n_requests(prepared, n)
    rates: dict[str, list[float]] = {"offline": [], "orchestrator": []}
    try:
        offline: Any = ray.remote(OfflineActor).remote(
            generators.model, dtype=generators.options["dtype"], engine=generators.options["engine"]
        )
        await deployment.start(600)
        with tempfile.TemporaryDirectory() as directory:
            for index in range(rounds + 1):
                seconds, tokens = await offline.generate.remote(requests)
                ours, found = await through_the_orchestrator(
                    prepared, deployment, Path(directory) / f"{index}.sqlite"
                )
                if tokens != found:
                    raise RuntimeError(f"the same requests gave {tokens} tokens offline and {found} here")
                if index:
                    rates["offline"].append(tokens / seconds)
                    rates["orchestrator"].append(found / ours)
    finally:
        await deployment.close()
        disconnect()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", type=Path, default=LAB_CONFIG)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--cores", type=int, default=1, help="all processes together are held to so many cores"
    )
    parser.add_argument("--paced", nargs=1, **PACED)
    parser.add_argument("--out", type=Path, default=Path("build/offline.json"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)
    config = load(
        options.config,
        [
            "strategy.name=best_of_n",
            f"strategy.n={options.n}",
            "verifier.model=null",
            "generator.replicas=1",
            f"problems.limit={options.problems}",
            "budget.flops=1e18",
            *paced(*options.paced),
            # On a device a sibling's prompt costs more than the orchestrator does, and offline has no tails.
            *(BY_BLOCK[:1] if options.paced else ()),
        ],
    )
    rates = asyncio.run(run(prepare(config), options.n, options.rounds))
    ratios = [ours / raw for ours, raw in zip(rates["orchestrator"], rates["offline"], strict=True)]
    title = f"best of {options.n}, {options.problems} problems of {config.name}, on {len(cores)} core(s)"
    table = Table(title=title, title_justify="left")
    for column in ("", "min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values, form in (
        ("offline LLM.generate, tokens/s", rates["offline"], ",.0f"),
        ("orchestrator, tokens/s", rates["orchestrator"], ",.0f"),
        ("ratio, pair by pair", ratios, ".3f"),
    ):
        row = [format(each, form) for each in (min(values), statistics.median(values), max(values))]
        table.add_row(name, *row)
    Console().print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"rates": rates, "ratios": ratios, "cores": len(cores)}, indent=2))


if __name__ == "__main__":
    main()
