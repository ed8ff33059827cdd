"""The journal of operations, from which a run resumes after a crash; atomic writes and locks."""
