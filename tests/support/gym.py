"""A family of puzzles with the interface of those of reasoning_gym."""

from __future__ import annotations

from datetime import date


class Sums:
    """Sums of equal numbers. An answer scores in part where it has the right one in it; one that is no number
    is an error of the scorer. With ``exact`` an entry must be as it was made."""

    def __init__(self, seed: int | None = None, size: int = 500, terms: int = 2, exact: bool = False) -> None:
        assert terms > 0, "terms must be positive"
        self.seed, self.size, self.terms, self.exact = seed or 0, size, terms, exact

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
        if self.exact and not isinstance(entry["metadata"]["day"], date):
            return 0.0
        assert answer is not None
        if entry["answer"] in answer and answer != entry["answer"]:
            return 0.5
        return float(int(answer) == int(entry["answer"]))
