"""The formats by name, and the format that a model's configuration makes certain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.budget.flops import FIXED_LABELS, predicts
from orchestrator.errors import BadInput, one_of
from orchestrator.extensions.user_file import load_attribute, own_code
from orchestrator.formats.definition import Format, FormatFacts
from orchestrator.formats.judge import Judge
from orchestrator.formats.math_shepherd import MathShepherd
from orchestrator.formats.orm import Orm
from orchestrator.formats.qwen_prm import QwenPrm
from orchestrator.formats.rlhflow import Rlhflow
from orchestrator.formats.skywork import Skywork
from orchestrator.formats.token import Token

STEPS = "steps"
"""The format of verifiers that ``ttc verifier train`` makes: they read the generator's own token ids, one
logit at the last token of each step as the generator wrote it. No text crosses."""

FUNCTION = "function"
"""A Python function: ``verifier.model`` names it, and no engine is started."""

FORMATS: Mapping[str, Callable[[FormatFacts], Format]] = {
    "token": Token,
    "qwen-prm": QwenPrm,
    "math-shepherd": MathShepherd,
    "rlhflow": Rlhflow,
    "skywork": Skywork,
    "orm": Orm,
    "judge": Judge,
}
NAMES = (STEPS, *FORMATS, FUNCTION)
OF_LANGUAGE_MODELS = ("math-shepherd", "rlhflow", "judge")
"""The formats that read the odds of a causal language model's next token."""

MARK = "ttc_verifier_format"
"""The key by which a model that ``ttc verifier`` wrote names its format in its config.json."""
VALUE_HEADS = ("Qwen2ForPrmModel", "LlamaForPrmModel")


def guessed(model: str, config: Mapping[str, Any]) -> str:
    """Returns the format that a model's config.json makes certain.

    Raises BadInput with the candidates where it does not.
    """
    if config.get(MARK) in NAMES:
        return str(config[MARK])
    architecture = str((config.get("architectures") or ["none"])[0])
    if architecture == "Qwen2ForProcessRewardModel":
        return "qwen-prm"
    if architecture.endswith(("ForSequenceClassification", "ForRewardModel")):
        return "orm"
    if architecture.endswith("ForTokenClassification"):
        # TRL's trainer makes two labels, ours one.
        return STEPS if labels(config) == 1 else "token"
    if architecture in VALUE_HEADS:
        needed = f"vLLM has no value head ({architecture}); convert it once: ttc verifier convert {model} OUT"
        raise BadInput("verifier.model", model, needed)
    if predicts(architecture):
        needed = f"a language model can be a verifier in several ways; {one_of(OF_LANGUAGE_MODELS)}"
        raise BadInput("verifier.format", None, f"{needed} ({model} is {architecture})")
    raise BadInput("verifier.format", None, f"{architecture} of {model} tells none; {one_of(NAMES)}")


def labels(config: Mapping[str, Any]) -> int:
    """Returns the number of labels of a reward model's head: Transformers' 2 where a config names none."""
    architecture = str((config.get("architectures") or [""])[0])
    if architecture in FIXED_LABELS:
        return FIXED_LABELS[architecture]
    named = config.get("id2label")
    return len(named) if named else int(config.get("num_labels", 2))


def build(name: str, facts: FormatFacts) -> Format:
    """Returns the format ``name``, or the class of a user's file (``path/to/file.py:Class``), for a model.

    Raises BadInput where the name is unknown, or the model, its tokenizer or the other keys do not fit it.
    """
    if ":" in name:
        made = load_attribute("verifier.format", name)
        if not isinstance(made, type):
            raise BadInput("verifier.format", name, "needed: a class of that name in the file")
        with own_code("verifier.format", name, "it cannot be made"):
            format: Format = made(facts)
            _try(name, format)
    elif name in FORMATS:
        format = FORMATS[name](facts)
        _try(name, format)
    else:
        raise BadInput("verifier.format", name, f"{one_of(NAMES)}; or path/to/file.py:Class")
    if facts.whole is not None and facts.whole != format.whole:
        kind = "orm" if format.whole else "prm"
        given = "orm" if facts.whole else "prm"
        what = "a whole solution" if format.whole else "each step"
        raise BadInput("verifier.kind", given, f"allowed: {kind} (format {name} scores {what})")
    return format


def _try(name: str, format: Format) -> None:
    """Raises BadInput where a format does not show two steps with a place to read each."""
    found = [read for shown in format.inputs("1 + 1?", ["One.", "Two."], 0) for read in shown.reads]
    if len(found) != (1 if format.whole else 2):
        needed = "needed: a read for each step, or one for a whole solution"
        raise BadInput("verifier.format", name, f"it reads {len(found)} scores of two steps; {needed}")
