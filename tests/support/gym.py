"""A family of puzzles with the interface of those of reasoning_gym."""

from __future__ import annotations

from datetime import date


class Sums:
    """Sums of equal numbers. An answer scores in part where it has the right one in it."""

    def __init__(self, seed: int | None = None, size: int = 500, terms: int = 2) -> None:
        assert terms > 0, "terms must be positive"
        self.seed, self.size, self.terms = seed or 0, size, terms

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        term = self.seed + index
        return {
            "question": " + ".join([str(term)] * self.terms) + " = ?",
            "answer": str(term * self.terms),
            "metadata": {"index": index, "difficulty": {"terms": self.terms}, "day": date(2024, 5, 6)},
        }

    def score_answer(self, answer: str | None, entry: dict) -> float:
        if answer is not None and answer.isdecimal() and int(answer) == int(entry["answer"]):
            return 1.0
        return 0.5 if answer is not None and entry["answer"] in answer else 0.0
