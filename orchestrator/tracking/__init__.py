"""MLflow behind a spool: a run logs to its own directory, and a thread sends that to the server."""
