"""``python -m orchestrator`` is ``ttc``."""

from orchestrator.cli import main

main()
