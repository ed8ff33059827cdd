"""The vLLM that this package works with. It is a file of its own, for those who may not import vLLM."""

from __future__ import annotations

VLLM_VERSION = "0.32"
"""The only release of vLLM whose internals this package knows; ``pyproject.toml`` pins the same."""
