"""Decides: search strategies, the FLOP budget, allocation, tracking, analysis and the ``ttc`` command."""
