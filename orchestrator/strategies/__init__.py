"""Search strategies: one file each, reading like its paper's pseudocode.

A strategy is a coroutine over a few operations and knows neither Ray, vLLM nor MLflow. It is
deterministic given its operations' results, which is all that durable execution asks of it.
"""

from orchestrator.strategies import (  # noqa: F401  (each registers itself)
    beam_search,
    best_of_n,
    dvts,
    lookahead,
    mcts,
    particle_filtering,
    rebase,
)
from orchestrator.strategies.registry import REGISTRY, Strategy, find

__all__ = ["REGISTRY", "Strategy", "find"]
