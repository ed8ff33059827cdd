"""What users bring in Python files of their own: strategies, verifier formats, checkers."""
