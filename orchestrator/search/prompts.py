"""Charges a problem's prompt, once to each model that reads it, with the first operation that needs it.

A prompt and that operation are granted together, so that nothing is charged which no engine will read.
"""

from __future__ import annotations

from typing import Literal

from orchestrator.budget.flops import CostModel
from orchestrator.budget.ledger import Reservation
from orchestrator.search.charges import Charges
from orchestrator.search.context import Usage

Reader = Literal["generator", "verifier", "reviser"]
"""A model that reads a problem's prompt."""


class Prompts:
    """The charges of one problem's prompt. They are counted in ``usage``."""

    def __init__(self, charges: Charges, usage: Usage) -> None:
        self._charges = charges
        self._context = charges.context
        self._usage = usage
        self._paid: set[Reader] = set()

    def readers(self, model: Reader | None, *, scored: bool) -> tuple[Reader, ...]:
        """Returns who reads the prompt before an operation of ``model`` (None: none that writes).

        An ORM reads it again with each attempt, and is charged so.
        """
        if model == "reviser" and self._context.reviser is self._context.generator:
            model = "generator"
        writer: tuple[Reader, ...] = () if model is None else (model,)
        return (*writer, "verifier") if scored and self._charges.verifier.opening else writer

    def owed(self, readers: tuple[Reader, ...]) -> int:
        """Returns the FLOPs of the prompt that these readers have not been charged yet."""
        return sum(self._cost(reader)[0] for reader in readers if reader not in self._paid)

    def pay(self, readers: tuple[Reader, ...], reservation: Reservation) -> None:
        """Charges what they owe."""
        for reader in readers:
            if reader in self._paid:
                continue
            self._paid.add(reader)
            flops, tokens = self._cost(reader)
            reservation.settle(flops)
            if reader == "verifier":
                self._usage.verifier_flops += flops
                self._usage.verifier_tokens += tokens
            else:
                self._usage.generator_flops += flops
                self._usage.generator_tokens += tokens

    def _cost(self, reader: Reader) -> tuple[int, int]:
        """FLOPs and tokens of the prompt."""
        costs: CostModel | None = getattr(self._context, reader)
        if costs is None:
            return 0, 0
        tokens = self._charges.verifier.opening if reader == "verifier" else len(self._charges.prompt)
        return costs.prefill(tokens), tokens
