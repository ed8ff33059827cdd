"""How the outputs of a reward model at one token become a score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Reading:
    """Makes a score in [0, 1] of a model's outputs at one token.

    ``probability`` reads the logit of a positive label, or the logits of a negative and a positive one.
    ``expected`` is the mean of ``values`` under the softmax of as many logits. ``reward`` reads one reward
    without bounds and keeps its order exactly (``bounded``).
    """

    kind: Literal["probability", "expected", "reward"] = "probability"
    values: tuple[float, ...] = ()
    """For ``expected``: the score, in [0, 1], that each output stands for."""
    tokens: tuple[str, ...] = ()
    """Entries of the vocabulary of a causal language model whose logits as the next token are the outputs;
    empty where the model has a head of its own."""

    @property
    def outputs(self) -> tuple[int, ...]:
        """The numbers of outputs a token that it can read."""
        if self.kind == "expected":
            return (len(self.values),)
        return (1, 2) if self.kind == "probability" else (1,)

    def __call__(self, outputs: Sequence[float]) -> float:
        """Returns the score; NaN where an output is NaN."""
        if self.kind == "reward":
            return bounded(outputs[0])
        if self.kind == "expected":
            largest = max(outputs)
            weights = [math.exp(output - largest) for output in outputs]
            return sum(w * v for w, v in zip(weights, self.values, strict=True)) / sum(weights)
        return _sigmoid(outputs[0] if len(outputs) == 1 else outputs[1] - outputs[0])

    def engine(self) -> dict[str, Any]:
        """Returns the ``EngineArgs`` with which vLLM gives these outputs for every token."""
        # vLLM 0.32: ALL, since pooling by a step tag (a PRM's own STEP) switches the prefix cache off.
        options: dict[str, Any] = {"runner": "pooling", "pooler_config": {"tok_pooling_type": "ALL"}}
        if self.tokens:
            # vLLM 0.32: adapters.load_weights_no_post_processing makes a head of these rows of the model's
            # own, so that one pass gives the outputs at every token and the prefix cache is used.
            options["convert"] = "classify"
            options["hf_overrides"] = {
                "classifier_from_token": list(self.tokens),
                "method": "no_post_processing",
                "num_labels": len(self.tokens),
            }
        return options


def bounded(reward: float) -> float:
    """Returns ½ + r / (2 (1 + |r|)) of a reward r: in (0, 1), ½ at 0, and larger for a larger reward.

    A sigmoid would be 1.0 exactly for every reward above 37, where rewards of public models lie.
    """
    return 0.5 + reward / (2 * (1 + abs(reward))) if math.isfinite(reward) else math.nan


def reward_of(score: float) -> float:
    """Returns the reward that ``bounded`` made ``score`` of."""
    share = 2 * score - 1
    return share / (1 - abs(share)) if abs(share) < 1 else math.copysign(math.inf, share)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
