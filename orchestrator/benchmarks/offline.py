"""Compares best-of-N through the whole orchestrator with vLLM's offline batch, in tokens a second.

Both engines live in one Ray session on the same cores and run the same requests (prompts, seeds) in turn. The
figure is the ratio of each pair: the orchestrator's cost, whatever else the machine does. ``--paced`` gives
the engines the speed of a device (``paced``). ``make bench`` runs it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from actors.messages import SampleRequest
from orchestrator.benchmarks import LAB_CONFIG, harness
from orchestrator.benchmarks.offline_actor import OfflineActor
from orchestrator.benchmarks.paced import PACED
from orchestrator.config.generator import sampling_of
from orchestrator.config.preparation import Prepared
from orchestrator.runs.session import pool_specs
from orchestrator.search.planning import seed_of


def best_of_n_requests(prepared: Prepared, n: int) -> list[SampleRequest]:
    """Returns the requests of best-of-N, in its order."""
    sampling, seed = sampling_of(prepared.config.generator), prepared.config.seed
    return [
        SampleRequest(
            f"{problem.id}/{i}",
            prompt,
            seed_of(seed, problem.id, str(i)),
            sampling.max_tokens,
            "end",
            sampling.temperature,
            sampling.top_p,
        )
        for problem, prompt in zip(prepared.problems, prepared.prompts, strict=True)
        for i in range(n)
    ]


async def run(prepared: Prepared, n: int, rounds: int) -> dict[str, list[float]]:
    """Returns the tokens a second of each side, round by round. Raises RuntimeError where the sides generate
    different numbers of tokens."""
    spec = pool_specs(prepared).generator
    requests, prompts = best_of_n_requests(prepared, n), sum(map(len, prepared.prompts))
    async with harness.engines(prepared) as (deployment,):
        actor = ray.remote(OfflineActor).options(num_cpus=0)
        offline: Any = actor.remote(spec.model, dtype=spec.options["dtype"], engine=spec.options["engine"])

        async def batch() -> tuple[float, int]:
            return await offline.generate.remote(requests)

        async def orchestrated() -> tuple[float, int]:
            found = await harness.searched(prepared, deployment)
            return found.seconds, found.usage.generator_tokens - prompts

        found = await harness.in_turn({"offline": batch, "orchestrator": orchestrated}, rounds)
    if len(counts := {tokens for pairs in found.values() for _, tokens in pairs}) != 1:
        raise RuntimeError(f"the same requests gave different numbers of tokens: {sorted(counts)}")
    return {name: [tokens / seconds for seconds, tokens in pairs] for name, pairs in found.items()}


def main() -> None:
    parser = harness.parser(
        __doc__, config=LAB_CONFIG, problems=64, n=16, rounds=7, cores=1, out=Path("build/offline.json")
    )
    parser.add_argument("--paced", nargs=1, **PACED)
    options = parser.parse_args()
    cores = harness.hold_to(options.cores)
    prepared = harness.prepared(
        options,
        *("strategy.name=best_of_n", f"strategy.n={options.n}", "verifier.model=null"),
        # On a device a second computation of a prompt costs more than the orchestrator, and the offline batch
        # does not reuse by the token.
        *(harness.BY_BLOCK[:1] if options.paced else ()),
    )
    rates = asyncio.run(run(prepared, options.n, options.rounds))
    ratios = harness.ratios(rates["orchestrator"], rates["offline"])
    title = f"best of {options.n}, {options.problems} problems of {prepared.config.name}, on {cores} core(s)"
    table = harness.table(title, "", "min", "median", "max")
    table.add_row("offline LLM.generate, tokens/s", *harness.spread(rates["offline"], ",.0f"))
    table.add_row("orchestrator, tokens/s", *harness.spread(rates["orchestrator"], ",.0f"))
    table.add_row("ratio, pair by pair", *harness.spread(ratios, ".3f"))
    Console().print(table)
    harness.save(options.out, {"rates": rates, "ratios": ratios, "cores": cores})


if __name__ == "__main__":
    main()
