"""What survives a crash: the journal of operations, and files that are written whole."""
