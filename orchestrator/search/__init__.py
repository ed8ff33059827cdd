"""The search of one problem: its tree, the operations a strategy calls, revision prompts, and selection."""
