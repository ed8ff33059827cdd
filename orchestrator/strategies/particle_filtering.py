"""Particle filtering (Puri et al. 2025, A Probabilistic Inference Approach to Inference-Time Scaling)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from orchestrator.search.operations import Operations
from orchestrator.search.tree import Node
from orchestrator.strategies import rebase
from orchestrator.strategies.definition import strategy

EDGE = 1e-7
"""Scores are held this far from 0 and 1, where the logit is infinite."""


check = rebase.check


@strategy(check=check, begins="steps", needs_verifier=True)
async def particle_filtering(
    ops: Operations,
    *,
    n: int = 16,
    temperature: float = 1.0,
    max_rounds: int = 40,
    distinct: bool = True,
) -> Sequence[Node]:
    """Moves ``n`` particles. Each round extends the unfinished ones by one step, weighs every particle by its
    value, and resamples all ``n`` in proportion to softmax(logit(value) / ``temperature``).

    With ``distinct``, equal particles are one node that is there several times: their weights add up, and it
    is scored once.
    """
    earlier = ops.finished
    particles = await ops.sample(ops.root, n, keep="cut", distinct=distinct)
    for _ in range(max_rounds - 1):
        ops.finished = earlier + [particle for particle in particles if particle.finished]
        if all(particle.finished for particle in particles):
            break
        particles = resample(particles, [ops.value(p) for p in particles], temperature, ops.random)
        live = [i for i, particle in enumerate(particles) if not particle.finished]
        extended = [particles[i] for i in live]
        children = await ops.sample(extended, 1, keep="cut", distinct=distinct)
        for i, child in zip(live, children, strict=True):
            particles[i] = child
    return [particle for particle in particles if particle.finished]


def resample(
    particles: Sequence[Node], values: Sequence[float], temperature: float, rng: random.Random
) -> list[Node]:
    """Draws as many particles, with replacement, in proportion to their weights."""
    held = [min(max(value, EDGE), 1 - EDGE) for value in values]
    logits = [math.log(value / (1 - value)) / temperature for value in held]
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    return rng.choices(particles, weights, k=len(particles))
