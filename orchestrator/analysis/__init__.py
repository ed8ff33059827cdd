"""What stored runs amount to: estimates with their intervals, difficulty, fits, the compute-optimal policy.

Pure functions over columns; only ``cells`` and ``fit`` touch a store.
"""
