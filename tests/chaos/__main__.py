"""Runs the trials and writes each to a line of the output file; trials in that file are not repeated."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from orchestrator.config.loading import load
from orchestrator.config.preparation import prepare
from tests import chaos
from tests.chaos.controllers import controller_trials
from tests.chaos.replicas import replica_trials
from tests.chaos.tables import outcomes, recoveries
from tests.chaos.trials import RUN, Trial
from tests.support.paths import LAB_CONFIG


async def done(options: argparse.Namespace, console: Console) -> list[Trial]:
    """Runs the trials that the output file does not hold yet; returns all of them."""
    runs = options.out.parent / "runs"
    overrides = [*RUN, f"runs={runs}"]
    prepared = prepare(load(LAB_CONFIG, overrides))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    kept = options.out.read_text().splitlines() if options.out.is_file() else []
    trials = [Trial(**json.loads(line)) for line in kept]
    known = {(trial.kind, trial.number) for trial in trials}

    async def keep(more: AsyncIterator[Trial]) -> None:
        async with aclosing(more):  # type: ignore[type-var]
            async for trial in more:
                trials.append(trial)
                with options.out.open("a") as file:
                    file.write(json.dumps(asdict(trial)) + "\n")
                faults = ", ".join(trial.injected) or "no fault met its victim"
                verdict = "the same end" if trial.good else f"NOT THE SAME: {trial}"
                console.print(f"{trial.kind} {trial.number}: {faults}: {verdict}", highlight=False)

    if todo := [n for n in range(options.replicas) if ("replicas", n) not in known]:
        await keep(replica_trials(prepared, todo))
    if todo := [n for n in range(options.controllers) if ("controller", n) not in known]:
        await keep(controller_trials(todo, overrides, runs))
    return trials


def main() -> None:
    parser = argparse.ArgumentParser(prog="chaos", description=str(chaos.__doc__).splitlines()[0])
    parser.add_argument("--replicas", type=int, default=80, help="trials that kill or stop replicas")
    parser.add_argument("--controllers", type=int, default=20, help="trials that kill the controller")
    parser.add_argument("--out", type=Path, default=Path("build/chaos/trials.jsonl"))
    options = parser.parse_args()
    console = Console()
    trials = asyncio.run(done(options, console))
    console.print(outcomes(trials))
    console.print(recoveries(trials))
    sys.exit(0 if all(trial.good for trial in trials) else 1)


if __name__ == "__main__":
    main()
