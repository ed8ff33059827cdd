"""Benchmark: how many tokens the engines compute for each token of the search trees that had to be.

A generator's are each problem's prompt and each sample once, which is what a run is charged. A verifier's
are the different prefixes among the paths that it is given: of equal steps, which a small model samples
often, one is enough. The same searches run on engines that reuse what they have computed block by block, as
vLLM does by itself, and on engines that reuse it token by token (``actors/block_reuse.py``), and must find
the same solutions. Run with ``make bench``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.deployment import Deployment, connect, disconnect
from actors.messages import ScoreRequest, ScoreResult
from actors.pool import Pool
from orchestrator.benchmarks import LAB_CONFIG
from orchestrator.benchmarks.harness import cpu_seconds
from orchestrator.benchmarks.tables import narrow_table
from orchestrator.config.loading import load
from orchestrator.config.preparation import Prepared, prepare
from orchestrator.durability.journal import Journal
from orchestrator.runs.results import digest
from orchestrator.runs.run import controller_of
from orchestrator.runs.session import pool_specs
from orchestrator.search.context import Transport

BY_BLOCK = ["generator.engine.kv_transfer_config=null", "verifier.engine.kv_transfer_config=null"]
"""What turns an engine's reuse by the token off."""


class Prefixes:
    """Counts the different prefixes of sequences of tokens."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, ...]] = set()

    def add(self, tokens: tuple[int, ...]) -> None:
        while tokens and tokens not in self._seen:
            self._seen.add(tokens)
            tokens = tokens[:-1]

    def __len__(self) -> int:
        return len(self._seen)


class Watched:
    """Engines, and what their verifiers are given."""

    def __init__(self, engines: Transport) -> None:
        self.sample, self.revise = engines.sample, engines.revise
        self.prefixes = Prefixes()
        self._score = engines.score

    async def score(self, request: ScoreRequest) -> ScoreResult:
        self.prefixes.add(request.tokens)
        return await self._score(request)


async def searched(prepared: Prepared, engines: Deployment, journal: Path) -> tuple[dict[str, float], str]:
    """A run's figures, and the digest of its solutions. Of each model: the tokens its engines computed over
    those that had to be, and the processor seconds they took; of both: the FLOPs computed over those
    charged."""
    recorder, watched = Journal(journal), Watched(engines)
    controller = controller_of(prepared, watched, recorder)
    before = [busy(pool) for pool in engines.pools]
    began = time.perf_counter()
    results = await controller.run(prepared.problems, prepared.prompts, prepared.strategy)
    seconds, usage = time.perf_counter() - began, controller.usage
    generator, verifier = (busy(pool) - then for pool, then in zip(engines.pools, before, strict=True))
    recorder.close()
    return {
        "generator": usage.computed_generator_tokens / usage.generator_tokens,
        "verifier": usage.computed_verifier_tokens / max(1, len(watched.prefixes)),
        "flops": usage.computed_flops / usage.flops,
        "tokens": usage.generator_tokens + usage.verifier_tokens,
        "generator_cpu": generator,
        "verifier_cpu": verifier,
        "seconds": seconds,
    }, digest(results)


def busy(pool: Pool) -> float:
    """Processor seconds of a pool's engines so far."""
    return sum(cpu_seconds(info.pid) for info in pool.infos)


async def run(runs: Sequence[tuple[str, Prepared, Prepared]]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each named run (by block, by token): its figures on both kinds of engines. All of them run on the
    same two deployments, which forget what they have computed in between. The first one warms them up."""
    _, *kinds = runs[0]
    pools = [pool_specs(prepared).started for prepared in kinds]
    connect(None, [spec for specs in pools for spec in specs])
    deployments = [Deployment(*specs) for specs in pools]
    found: dict[str, dict[str, dict[str, float]]] = {}
    try:
        for deployment in deployments:
            await deployment.start(600)
        with tempfile.TemporaryDirectory() as directory:
            for index, (name, *both) in enumerate((runs[0], *runs)):
                digests = []
                found[name] = {}
                for kind, prepared, deployment in zip(("block", "token"), both, deployments, strict=True):
                    await deployment.forget()
                    journal = Path(directory) / f"{index}-{kind}.sqlite"
                    found[name][kind], sha = await searched(prepared, deployment, journal)
                    digests.append(sha)
                if len(set(digests)) != 1:
                    raise RuntimeError(f"{name}: the engines found different solutions")
    finally:
        for deployment in deployments:
            await deployment.close()
        disconnect()
    return found


def table(found: dict[str, dict[str, dict[str, float]]], title: str) -> Table:
    shown = narrow_table(title)
    for column in ("", "by", "generator", "verifier", "FLOPs", "CPU s: generator", "verifier", "wall s"):
        shown.add_column(column, justify="left" if column in ("", "by") else "right")
    for name, kinds in found.items():
        for kind, row in kinds.items():
            ratios = [f"{row[key]:.3f}" for key in ("generator", "verifier", "flops")]
            seconds = [f"{row[key]:.2f}" for key in ("generator_cpu", "verifier_cpu", "seconds")]
            shown.add_row(name, kind, *ratios, *seconds)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", type=Path, default=LAB_CONFIG)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--replicas", type=int, default=1, help="generators; there is one verifier")
    parser.add_argument(
        "--strategies", nargs="+", default=["beam_search", "best_of_n", "dvts", "rebase", "lookahead", "mcts"]
    )
    parser.add_argument("--cores", type=int, default=2, help="all processes are held to so many cores")
    parser.add_argument("--out", type=Path, default=Path("build/recomputation.json"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)

    def prepared(strategy: str, *overrides: str) -> Prepared:
        return prepare(
            load(
                options.config,
                [
                    f"strategy={{name: {strategy}, n: {options.n}}}",
                    f"generator.replicas={options.replicas}",
                    f"problems.limit={options.problems}",
                    "budget.flops=1e18",
                    *overrides,
                ],
            )
        )

    runs = [(strategy, prepared(strategy, *BY_BLOCK), prepared(strategy)) for strategy in options.strategies]
    found = asyncio.run(run(runs))
    title = f"computed tokens a tree token, n = {options.n}, {options.problems} problems"
    Console().print(table(found, title))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
