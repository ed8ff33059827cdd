"""Random numbers for code that numba compiles: splitmix64, whose state is ``uint64[1]``.

What is made from them depends on the state alone and not on a library's generator.
"""

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(cache=True)
def next_bits(state):  # type: ignore[no-untyped-def]
    """Advances ``state`` and returns 64 random bits."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@nb.njit(cache=True)
def below(state, n):  # type: ignore[no-untyped-def]
    """Returns a random integer in [0, n); the modulo's bias is about n / 2**40."""
    return np.int64((next_bits(state) >> np.uint64(24)) % np.uint64(n))


@nb.njit(cache=True)
def start_stream(state, seed, index):  # type: ignore[no-untyped-def]
    """Sets ``state`` to the beginning of stream ``index`` of ``seed``."""
    # Two rounds of mixing: neighbouring seeds and indices must not share a stream.
    state[0] = np.uint64(seed)
    state[0] = next_bits(state) + np.uint64(index)
    state[0] = next_bits(state)
