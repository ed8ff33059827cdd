"""Allocation of one budget over many problems: which problem gets the next FLOP.

``uniform`` gives each problem a share (``budget.shares``). ``adaptive`` and ``compute_optimal`` start with
empty leases, which grow in rounds.
"""
