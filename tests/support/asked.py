"""A request to a lease that a test waits for."""

from __future__ import annotations

import asyncio

from orchestrator.budget.ledger import Lease, Reservation


def ask(lease: Lease, amount: int) -> asyncio.Future[Reservation | None]:
    """Asks for ``amount`` FLOPs; the future is the decision, and to cancel it withdraws the request."""
    decision: asyncio.Future[Reservation | None] = asyncio.get_running_loop().create_future()
    lease.request(amount, decision.set_result, decision.cancelled)
    return decision
