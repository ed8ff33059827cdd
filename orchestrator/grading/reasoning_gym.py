"""The checker ``reasoning_gym``: an answer is right where its family's own scorer gives it the whole score.

A truth is JSON of the entry, as the source ``reasoning_gym`` writes it. What a text answers with is inside
its last ``<answer>…</answer>``, else in its last box, else its last line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

END_OF_THINKING = "</think>"
WHOLE = 1 - 1e-9
"""The score from which an answer is right: scorers give less where it is right in part."""


@dataclass(frozen=True)
class ReasoningGym:
    """Reads answers, and scores them by the family's own scorer."""

    def check_truth(self, truth: str) -> None:
        """Raises ValueError for an answer that is no entry."""
        _read(truth)

    def extract(self, text: str) -> str | None:
        """Returns the answer as it is written; None where there is none."""
        said = text.rpartition(END_OF_THINKING)[2]
        if "<think>" in said:  # thoughts that do not end
            return None
        tagged = re.findall(r"<answer>(.*?)</answer>", said, re.DOTALL)
        if tagged:
            return tagged[-1].strip() or None
        boxed = re.findall(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}", said)
        if boxed:
            return boxed[-1].strip() or None
        lines = said.strip().splitlines()
        return (
            re.sub(r"^\W*(?:the )?(?:final )?answer(?: is)?\s*[:=]?\s*", "", lines[-1], flags=re.I)
            if lines
            else None
        )

    def key(self, answer: str) -> str:
        """Returns what answers of one class share: the text, whatever space is around its words and lines."""
        return "\n".join(" ".join(line.split()) for line in answer.strip().splitlines())

    def accepts(self, truth: str, answer: str) -> bool:
        """Tells whether the scorer gives the answer the whole score.

        Raises ValueError where the truth is no entry, and ImportError where reasoning_gym is not installed.
        """
        scorer, entry = _entry(truth)
        return _whole(scorer, answer, entry)


def _read(truth: str) -> dict[str, Any]:
    try:
        entry = json.loads(truth)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not {"family", "options", "index", "answer", "question"} <= set(entry):
        raise ValueError(f"needed: an entry of reasoning_gym as JSON, not {truth[:60]!r}")
    return entry


@lru_cache(maxsize=1024)
def _entry(truth: str) -> tuple[Any, dict[str, Any]]:
    """The family, and the entry that an answer is scored against."""
    entry = _read(truth)
    scorer = _family(entry["family"], json.dumps(entry["options"]))
    if entry["answer"] is not None and not _whole(scorer, entry["answer"], entry):
        # What JSON does not keep, such as a tuple, matters to this family: it makes the entry again.
        again = scorer[entry["index"]]
        if again["question"] == entry["question"]:
            return scorer, again
    return scorer, entry


def _whole(scorer: Any, answer: str, entry: dict[str, Any]) -> bool:
    try:
        return float(scorer.score_answer(answer, entry)) >= WHOLE
    except Exception:  # some scorers raise on an answer that they cannot read
        return False


@lru_cache(maxsize=32)
def _family(name: str, options: str) -> Any:
    from reasoning_gym.factory import create_dataset

    return create_dataset(name, **json.loads(options))
