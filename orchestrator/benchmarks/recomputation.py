"""Counts the tokens that the engines compute for each token that the search trees need.

A generator needs each problem's prompt and each sample once, which is what a run is charged. A verifier needs
the different prefixes of the paths that it is given: of equal steps, which a small model samples often, one
is enough. The same searches run on engines that reuse what they have computed block by block, as vLLM does,
and on engines that reuse it token by token (``actors/block_reuse.py``); both must find the same solutions.
``make bench`` runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.deployment import Deployment
from actors.messages import ScoreRequest, ScoreResult
from orchestrator.benchmarks import LAB_CONFIG, harness
from orchestrator.config.preparation import Prepared
from orchestrator.search.context import Transport

STRATEGIES = ["beam_search", "best_of_n", "dvts", "rebase", "lookahead", "mcts"]


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
    """Engines whose verifiers' inputs are counted."""

    def __init__(self, engines: Transport) -> None:
        self.sample, self.revise = engines.sample, engines.revise
        self.prefixes = Prefixes()
        self._score = engines.score

    async def score(self, request: ScoreRequest) -> ScoreResult:
        self.prefixes.add(request.tokens)
        return await self._score(request)


async def measure(prepared: Prepared, engines: Deployment) -> tuple[dict[str, float], str]:
    """Runs the searches on engines that forget first; returns the figures, and the digest of the solutions.

    ``generator`` and ``verifier`` are tokens computed over tokens needed, ``flops`` is FLOPs computed over
    FLOPs charged, and the engines' processor time is in seconds.
    """
    await engines.forget()
    watched, before = Watched(engines), busy(engines)
    found = await harness.searched(prepared, watched)
    generator, verifier = (now - then for now, then in zip(busy(engines), before, strict=True))
    usage = found.usage
    return {
        "generator": usage.computed_generator_tokens / usage.generator_tokens,
        "verifier": usage.computed_verifier_tokens / max(1, len(watched.prefixes)),
        "flops": usage.computed_flops / usage.flops,
        "tokens": usage.generator_tokens + usage.verifier_tokens,
        "generator_cpu": generator,
        "verifier_cpu": verifier,
        "seconds": found.seconds,
    }, found.digest


def busy(engines: Deployment) -> list[float]:
    """Returns the processor time of each pool's engines so far, in seconds."""
    return [sum(harness.cpu_seconds(info.pid) for info in pool.infos) for pool in engines.pools]


async def run(runs: Sequence[tuple[str, Prepared, Prepared]]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the figures of each named run by block and by token, all on the same engines. The first run
    goes twice, to warm up."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    _, *kinds = runs[0]
    async with harness.engines(*kinds) as deployments:
        for name, *both in (runs[0], *runs):
            pairs = [await measure(kind, engines) for kind, engines in zip(both, deployments, strict=True)]
            harness.same([digest for _, digest in pairs])
            found[name] = dict(zip(("block", "token"), (figures for figures, _ in pairs), strict=True))
    return found


def table(found: dict[str, dict[str, dict[str, float]]], title: str) -> Table:
    shown = harness.table(
        title, "", "by", "generator", "verifier", "FLOPs", "CPU s: generator", "verifier", "wall s", left=2
    )
    for name, kinds in found.items():
        for kind, row in kinds.items():
            ratios = [f"{row[key]:.3f}" for key in ("generator", "verifier", "flops")]
            seconds = [f"{row[key]:.2f}" for key in ("generator_cpu", "verifier_cpu", "seconds")]
            shown.add_row(name, kind, *ratios, *seconds)
    return shown


def main() -> None:
    parser = harness.parser(
        __doc__, config=LAB_CONFIG, problems=64, n=16, cores=2, out=Path("build/recomputation.json")
    )
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, help="searches that are measured")
    options = parser.parse_args()
    harness.hold_to(options.cores)

    def prepared(strategy: str, *overrides: str) -> Prepared:
        return harness.prepared(options, f"strategy={{name: {strategy}, n: {options.n}}}", *overrides)

    runs = [(name, prepared(name, *harness.BY_BLOCK), prepared(name)) for name in options.strategies]
    found = asyncio.run(run(runs))
    title = f"computed tokens a tree token, n = {options.n}, {options.problems} problems"
    Console().print(table(found, title))
    harness.save(options.out, found)


if __name__ == "__main__":
    main()
