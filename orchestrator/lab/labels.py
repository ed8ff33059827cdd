"""Labels steps from whole samples, in plain torch: no engine has to start.

A step's label is the share of right answers among the samples of its problem that begin with the same tokens.
Each sample is a rollout from each of its steps, so this is the labelling of ``verifiers.label`` with as many
completions as samples share the step, often one; many problems make up for few completions.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch

from orchestrator.lab.model import load_generator
from orchestrator.lab.sampling import sample
from orchestrator.lab.tasks import Task
from orchestrator.lab.tokenizer import build_tokenizer
from orchestrator.verifiers.label import LabelledSolution


def labelled_samples(
    task: Task, generator: Path, problems: int, samples: int, seed: int
) -> Iterator[LabelledSolution]:
    """Samples ``samples`` solutions of each of the first ``problems`` problems of the train split, and yields
    those that have an answer, with labels. The same seed yields the same on one machine."""
    model, tokenizer = load_generator(generator), build_tokenizer(task.vocabulary)
    tests = task.problems("train", problems)
    prompts = [tuple(tokenizer(problem.prompt)["input_ids"]) for problem in tests]
    solutions = sample(model, [torch.tensor(prompt) for prompt in prompts], samples, seed, tokens=task.tokens)
    for problem, prompt, some in zip(tests, prompts, solutions, strict=True):
        judged = task.judge(problem, some)
        answered = [i for i in range(samples) if judged.answers[i] >= 0]
        ends = {i: (judged.ends[i][judged.steps[i]] + 1).tolist() for i in answered}
        outcomes: dict[tuple[int, ...], list[bool]] = defaultdict(list)
        for i in answered:
            for end in ends[i]:
                outcomes[tuple(some[i, :end].tolist())].append(bool(judged.right[i]))
        for i in answered:
            parts = [some[i, a:b].tolist() for a, b in itertools.pairwise((0, *ends[i]))]
            shared = [outcomes[tuple(some[i, :end].tolist())] for end in ends[i]]
            yield LabelledSolution(
                problem.id,
                problem.prompt,
                tuple(tokenizer.decode(part, skip_special_tokens=True) for part in parts),
                tuple(sum(right) / len(right) for right in shared),
                prompt + tuple(some[i, : ends[i][-1]].tolist()),
                tuple(len(prompt) + end for end in ends[i]),
            )
