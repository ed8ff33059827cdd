"""Each public format with a tiny model of its architecture, and the scores of its model card's own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from actors.reading import bounded
from orchestrator.budget.flops import read_config
from orchestrator.formats.definition import Format, FormatFacts
from orchestrator.formats.judge import STEP_TEMPLATE
from orchestrator.formats.registry import build
from orchestrator.verifiers.convert import convert
from tests.support import public_models as public

Reference = Callable[[Any, str, Sequence[str]], list[float]]
"""Scores of a question's steps, from the tokenizer and the texts."""


@dataclass(frozen=True)
class Family:
    """A format, the directory of a model for it, and the scores that its publishers would compute."""

    name: str
    directory: Path
    reference: Reference
    outputs: Callable[[torch.Tensor], torch.Tensor]
    """The raw outputs [length, n] of token ids [1, length], that the engine has to give."""
    whole: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)
    """What the format needs of its facts."""

    @property
    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.directory)

    def format(self, **changes: Any) -> Format:
        config = read_config(str(self.directory), "verifier.model")
        given = {**self.given, **changes}
        return build(self.name, FormatFacts(str(self.directory), self.tokenizer, config, **given))


def token(path: Path) -> Family:
    model = public.save_token_classifier(path)

    def reference(tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
        return public.of_trl(model, tokenizer, question, steps, "\n\n")

    return Family("token", path, reference, lambda ids: model(ids).logits[0])


def qwen_prm(path: Path) -> Family:
    model = public.save_process_reward_model(path)
    return Family("qwen-prm", path, lambda *a: public.of_qwen_prm(model, *a), lambda ids: model(ids)[0])


def math_shepherd(path: Path) -> Family:
    model = public.save_language_model(path, "mistral")
    tokenizer = AutoTokenizer.from_pretrained(path)
    plus, minus = tokenizer.encode("+ -", add_special_tokens=False)
    return Family(
        "math-shepherd",
        path,
        lambda *a: public.of_math_shepherd(model, *a),
        lambda ids: model(ids).logits[0][:, [minus, plus]],
    )


def rlhflow(path: Path) -> Family:
    model = public.save_language_model(path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(path)
    signs = [tokenizer.encode(sign, add_special_tokens=False)[-1] for sign in "-+"]
    return Family(
        "rlhflow", path, lambda *a: public.of_rlhflow(model, *a), lambda ids: model(ids).logits[0][:, signs]
    )


def skywork(path: Path) -> Family:
    model, head = public.save_value_head_model(path / "published")
    convert(str(path / "published"), path / "converted")
    return Family(
        "skywork",
        path / "converted",
        lambda *a: public.of_skywork(model, head, *a),
        lambda ids: head(model.model(ids).last_hidden_state[0]),
    )


def orm(path: Path) -> Family:
    model = public.save_reward_model(path)

    def reference(tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
        return [bounded(public.of_reward_model(model, tokenizer, question, "\n\n".join(steps)))]

    def outputs(ids: torch.Tensor) -> torch.Tensor:
        return model.score(model.model(ids).last_hidden_state[0])

    return Family("orm", path, reference, outputs, whole=True)


def judge(path: Path) -> Family:
    model = public.save_language_model(path, "qwen3", seed=16)
    tokenizer = AutoTokenizer.from_pretrained(path)
    entries = [tokenizer.encode(word, add_special_tokens=False)[0] for word in ("N", "Y")]

    def reference(tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
        return [
            public.of_judge(
                model,
                tokenizer,
                STEP_TEMPLATE.format(
                    problem=question, solution="\n\n".join(steps[: count + 1]), choices="N or Y"
                ),
                {"N": 0.0, "Y": 1.0},
            )
            for count in range(len(steps))
        ]

    return Family(
        "judge",
        path,
        reference,
        lambda ids: model(ids).logits[0][:, entries],
        given={"choices": {"N": 0.0, "Y": 1.0}},
    )


GRADES = {"1": 0.0, "2": 0.25, "3": 0.5, "4": 0.75, "5": 1.0}
TEMPLATE = "Solved: {solution} of {problem}? Grade it: {choices}"
"""Of a user's own; where a whole solution is judged, the problem may come after it."""


def judge_of_solutions(path: Path) -> Family:
    """A judge that grades a whole solution from 1 to 5, by a user's template."""
    model = public.save_language_model(path, "qwen3", seed=17)
    tokenizer = AutoTokenizer.from_pretrained(path)
    entries = [tokenizer.encode(word, add_special_tokens=False)[0] for word in GRADES]

    def reference(tokenizer: Any, question: str, steps: Sequence[str]) -> list[float]:
        said = {"problem": question, "solution": "\n\n".join(steps), "choices": "1 or 2 or 3 or 4 or 5"}
        return [public.of_judge(model, tokenizer, TEMPLATE.format(**said), GRADES)]

    given = {"choices": GRADES, "template": TEMPLATE, "whole": True, "separator": "\n\n"}
    return Family(
        "judge", path, reference, lambda ids: model(ids).logits[0][:, entries], whole=True, given=given
    )


FAMILIES = (token, qwen_prm, math_shepherd, rlhflow, skywork, orm, judge, judge_of_solutions)
