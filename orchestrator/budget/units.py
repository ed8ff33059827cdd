"""The budget knob: FLOPs, generated tokens or generations a problem, converted by the cost model.

A *generation* is the literature's N: one independent solution of ``solution_tokens`` new tokens, sampled
and, where there is a verifier, scored; the prompt is paid once a problem and model. So N generations pay
for best-of-N at full length, whatever strategy then spends them. Tokens are the same thing in smaller
change: a generated token costs its share of such a solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.budget.flops import CostModel
from orchestrator.errors import BadInput

UNITS = {"flops": "FLOPs", "tokens": "generated tokens", "generations": "generations a problem"}


@dataclass(frozen=True)
class Price:
    """FLOPs of one problem's prompt, paid once, and of one of its solutions; verifier included."""

    prompt: int
    solution: int

    @classmethod
    def of(
        cls, prompt: int, new: int, generator: CostModel, verifier: CostModel | None, kind: str = "prm"
    ) -> Price:
        """Of a prompt of ``prompt`` tokens and solutions of ``new`` more. A verifier of ``kind`` orm reads
        the prompt again with each solution."""
        once, each = generator.prefill(prompt), generator.sample(prompt, new)
        if verifier is not None and kind == "orm":
            each += verifier.score(0, prompt + new)
        elif verifier is not None:
            once += verifier.prefill(prompt)
            each += verifier.score(prompt, prompt + new)
        return cls(once, each)


@dataclass(frozen=True)
class Budget:
    """What was asked for (``amount`` in ``unit``, a name in ``UNITS``), as FLOPs: ``flops`` of the run,
    and ``shares`` of them for each problem where allocation is uniform.

    What it buys, on average: ``generations`` a problem, or ``tokens`` of such solutions over the run.
    """

    unit: str
    amount: float
    flops: int
    shares: tuple[int, ...]
    solution_tokens: int
    generations: float
    tokens: float

    def to_dict(self) -> dict[str, Any]:
        """For the summary: without the shares, but with their mean."""
        return {
            "unit": self.unit,
            "amount": self.amount,
            "flops": self.flops,
            "flops_per_problem": self.flops / len(self.shares),
            "solution_tokens": self.solution_tokens,
            "generations": self.generations,
            "tokens": self.tokens,
        }


def convert(unit: str, amount: float, prices: Sequence[Price], solution_tokens: int) -> Budget:
    """``amount`` in ``unit`` for problems of these ``prices`` (of solutions of ``solution_tokens``).

    FLOPs and tokens are of the whole run, generations of each problem. Raises BadInput where the amount
    is not positive, or is less than a token a problem.
    """
    if not 0 < amount < float("inf"):
        raise BadInput(f"budget.{unit}", amount, f"allowed: a positive number of {UNITS[unit]}")
    problems = len(prices)
    if unit == "flops":
        shares = [int(amount) // problems] * problems
        flops = int(amount)
    else:
        each = int(amount) * solution_tokens if unit == "generations" else int(amount) // problems
        if each < 1:
            raise BadInput(f"budget.{unit}", amount, f"allowed: {problems} or more, one a problem")
        shares = [price.prompt + each * price.solution // solution_tokens for price in prices]
        flops = sum(shares)
    bought = [max(0, s - p.prompt) / p.solution for s, p in zip(shares, prices, strict=True)]
    generations = sum(bought) / problems
    return Budget(
        unit, amount, flops, tuple(shares), solution_tokens, generations, sum(bought) * solution_tokens
    )


def described(budget: dict[str, Any]) -> tuple[str, str]:
    """Two lines for a reader, from ``Budget.to_dict``: what was asked for in FLOPs, and what that buys."""
    asked = f"{budget['amount']:,.6g} {UNITS[budget['unit']]}"
    flops = f"{budget['flops']:.4g} FLOPs"
    return (
        f"{asked if budget['unit'] == 'flops' else f'{asked} = {flops}'}, "
        f"{budget['flops_per_problem']:.4g} a problem",
        f"{budget['generations']:.4g} solutions of {budget['solution_tokens']} tokens a problem, "
        f"{budget['tokens']:,.0f} tokens in all",
    )
