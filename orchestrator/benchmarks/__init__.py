"""Benchmarks of the system itself; each module is a command (``python -m orchestrator.benchmarks.NAME``)."""

from pathlib import Path

LAB_CONFIG = Path(__file__).parents[2] / "configs" / "lab.yaml"
"""The configuration that benchmarks start from."""
