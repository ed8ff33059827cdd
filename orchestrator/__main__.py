"""``python -m orchestrator`` is ``ttc``."""

from orchestrator.commands.cli import main

if __name__ == "__main__":
    main()
