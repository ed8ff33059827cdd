"""Statistics of finished runs: estimates with intervals, difficulty, scaling laws, the compute-optimal
policy.

``store`` and ``solutions`` read files; every other module computes on arrays.
"""
