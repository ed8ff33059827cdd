"""Ray actors that run vLLM generators and verifiers, and the pools that route requests to them.

Nothing here imports ``orchestrator``; outside the benchmarks only this package imports vLLM.
"""
