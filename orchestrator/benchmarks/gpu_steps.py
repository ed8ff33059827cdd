"""What ``gpu_check`` tries on a machine with GPUs, and the configuration that each step changes."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
"""A small model that anyone may download."""
STEP_SECONDS = 1800.0
"""Seconds after which a step is ended."""
NEW_TOKENS = 256
"""The most tokens of a solution."""
MAX_MODEL_LEN = 2048
JUDGE = ("verifier.model={model}", "verifier.format=judge", "strategy.name=beam_search", "strategy.width=4")
TWO_GPUS = ("generator.resources.num_gpus=2", "generator.engine.tensor_parallel_size=2")
INVARIANT = {"VLLM_BATCH_INVARIANT": "1"}
REPLICA = ("ray::GeneratorActor", "ray::generator", "ray::LabReplica")
WORKER = ("VLLM::Worker", "ray::RayWorkerProc", "ray::RayWorkerWrapper")
"""How the titles of a replica's processes and of its workers begin, by whichever executor vLLM takes."""
SAMPLES = 32
"""Samples of each problem where the throughput is measured."""
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
    kills: tuple[str, ...] = ()
    """How the titles of the processes begin of which one is killed, once a replica is up."""
    twice: bool = False
    """Whether the same run is done undisturbed before, and the solutions compared."""


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
    Step("kill", "a replica is killed with SIGKILL as it works: another takes its place", kills=REPLICA),
    Step("repeated", "the same run twice: are the solutions the same?", twice=True),
    Step(
        "batch-invariant",
        "the same in vLLM's batch-invariant mode, where they have to be",
        environment=INVARIANT,
        twice=True,
    ),
    Step(
        "tensor-parallel",
        "one engine over two GPUs, by vLLM's Ray workers",
        TWO_GPUS,
        gpus=2,
    ),
    Step(
        "kill-worker",
        "of an engine over two GPUs one worker process is killed with SIGKILL: the replica comes back, "
        "and the solutions are those of an undisturbed run",
        TWO_GPUS,
        gpus=2,
        environment=INVARIANT,
        kills=WORKER,
        twice=True,
    ),
)
THROUGHPUT = Step(
    "throughput",
    f"{SAMPLES} long samples a problem, as a ratio to `vllm bench throughput` of the same model and sizes",
    (
        f"strategy.n={SAMPLES}",
        f"budget.generations={SAMPLES}",
        # As long as may be, since the other side ignores the end of a text.
        "problems.template='Write a very long story about this question: {{problem}}'",
    ),
)
CHECK = Step("check", "`ttc check`: the versions, and whether the model fits; nothing is started", gpus=0)
ALL = (CHECK, *STEPS, THROUGHPUT)
NAMES = tuple(step.name for step in ALL)


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
            "engine": {"max_model_len": MAX_MODEL_LEN},
        },
        "verifier": {"resources": {"num_cpus": 1}, "engine": {"max_model_len": MAX_MODEL_LEN}},
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
