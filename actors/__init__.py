"""Computes: Ray actors that host vLLM generators and verifiers, and the pools that route to them.

Nothing here imports ``orchestrator``; only this package imports vLLM.
"""
