"""How a verifier is shown a path, and what is read of it: one format a file."""
