"""The units of a budget: FLOPs, generated tokens, or generations a problem, converted by the cost model.

A *generation* is the N of the literature: one independent solution of ``solution_tokens`` new tokens, sampled
and, if there is a verifier, scored; the prompt is paid once a problem and model. So N generations pay for
best-of-N at full length, whichever strategy spends them. A generated token costs its share of such a
solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.budget.flops import CostModel
from orchestrator.errors import BadInput

PREFIXES = {1e24: "Y", 1e21: "Z", 1e18: "E", 1e15: "P", 1e12: "T", 1e9: "G", 1e6: "M", 1e3: "k"}
UNITS = {"flops": "FLOPs", "tokens": "generated tokens", "generations": "generations a problem"}


def si(amount: float) -> str:
    """Returns a number with three digits and an SI prefix: 1.2e+09 is ``1.2 G``."""
    for size, prefix in PREFIXES.items():
        if amount >= 0.9995 * size:
            return f"{amount / size:.3g} {prefix}"
    return f"{amount:.3g}"


def in_flops(amount: float) -> str:
    """Returns FLOPs as every page and line has them that people read: ``60.8 GFLOPs``."""
    shown = si(amount)
    return f"{shown}FLOPs" if shown[-1].isalpha() else f"{shown} FLOPs"


@dataclass(frozen=True)
class Price:
    """The price of a problem in FLOPs, generator and verifier together."""

    prompt: int
    """FLOPs that are paid once a problem."""
    solution: int
    """FLOPs of each solution."""

    @classmethod
    def of(
        cls, prompt: int, new: int, generator: CostModel, verifier: CostModel | None, kind: str = "prm"
    ) -> Price:
        """Returns the price for a prompt of ``prompt`` tokens and solutions of ``new`` more. A verifier of
        ``kind`` orm reads the prompt again with each solution."""
        once, solution = generator.prefill(prompt), generator.sample(prompt, new)
        if verifier is not None and kind == "orm":
            solution += verifier.score(0, prompt + new)
        elif verifier is not None:
            once += verifier.prefill(prompt)
            solution += verifier.score(prompt, prompt + new)
        return cls(once, solution)

    def of_samples(self, count: int) -> int:
        """Returns the FLOPs of so many solutions."""
        return self.prompt + count * self.solution


@dataclass(frozen=True)
class Budget:
    """A budget as it was asked for, and in FLOPs."""

    unit: str
    """The unit that was asked for: a key of ``UNITS``."""
    amount: float
    """How many of the unit were asked for."""
    flops: int
    """FLOPs of the whole run."""
    shares: tuple[int, ...]
    """FLOPs of each problem under uniform allocation, in the order of the problems."""
    solution_tokens: int
    """New tokens of a full-length solution."""
    generations: float
    """Full-length solutions a problem that the budget buys, on average."""
    tokens: float
    """Tokens of all those solutions, over the run."""

    def to_dict(self) -> dict[str, Any]:
        """Returns all but the shares, and their mean, for the summary."""
        return {
            "unit": self.unit,
            "amount": self.amount,
            "flops": self.flops,
            "flops_per_problem": self.flops / len(self.shares),
            "solution_tokens": self.solution_tokens,
            "generations": self.generations,
            "tokens": self.tokens,
        }


def check_amount(unit: str, amount: float) -> None:
    """Raises BadInput unless the amount is a positive number."""
    if not 0 < amount < float("inf"):  # written so that NaN is refused too
        raise BadInput(f"budget.{unit}", amount, f"allowed: a positive number of {UNITS[unit]}")


def convert(unit: str, amount: float, prices: Sequence[Price], solution_tokens: int) -> Budget:
    """Converts ``amount`` of ``unit``; ``prices`` are of the problems, with solutions of ``solution_tokens``.

    FLOPs and tokens are for the whole run, generations for each problem. Raises BadInput if the amount is not
    positive, or buys less than a token a problem.
    """
    check_amount(unit, amount)
    problems = len(prices)
    if unit == "flops":
        shares = [int(amount) // problems] * problems
        flops = int(amount)
    else:
        tokens = int(amount) * solution_tokens if unit == "generations" else int(amount) // problems
        if tokens < 1:
            raise BadInput(f"budget.{unit}", amount, f"allowed: {problems} or more, one a problem")
        shares = [price.prompt + tokens * price.solution // solution_tokens for price in prices]
        flops = sum(shares)
    bought = [
        max(0, share - price.prompt) / price.solution for share, price in zip(shares, prices, strict=True)
    ]
    generations = sum(bought) / problems
    return Budget(
        unit, amount, flops, tuple(shares), solution_tokens, generations, sum(bought) * solution_tokens
    )


def described(budget: dict[str, Any]) -> tuple[str, str]:
    """Returns two lines from ``Budget.to_dict``: the budget in FLOPs, and what it buys."""
    asked = f"{budget['amount']:,.6g} {UNITS[budget['unit']]} = " if budget["unit"] != "flops" else ""
    return (
        f"{asked}{in_flops(budget['flops'])}, {in_flops(budget['flops_per_problem'])} a problem",
        f"{budget['generations']:.4g} solutions of {budget['solution_tokens']:,} tokens a problem, "
        f"{budget['tokens']:,.0f} tokens in all",
    )
