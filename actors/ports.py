"""A range of ports that belongs to one replica of a node: vLLM looks for a free port and opens it later, and
replicas that start at the same time would take the same.

A range's first port is kept open by the process that has the range, so no other has it while that lives.
"""

from __future__ import annotations

import os
import socket

VARIABLE = "VLLM_PORT"
"""vLLM takes the first free port from this one on."""
FIRST, AFTER, EACH = 30_000, 32_768, 16
"""The ranges: above the ports of Ray's workers, and below those that Linux gives to connections."""

_kept: list[socket.socket] = []
"""What keeps this process's range, for as long as the process lives."""


def take_range() -> int | None:
    """Makes vLLM open its ports in a range that no other process of this node has. Returns its first port;
    None where the environment names one already, or every range is taken."""
    if VARIABLE in os.environ:
        return None
    for first in range(FIRST, AFTER - EACH + 1, EACH):
        keeper = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            keeper.bind(("", first))
        except OSError:
            keeper.close()
            continue
        _kept.append(keeper)
        os.environ[VARIABLE] = str(first + 1)
        return first + 1
    return None
