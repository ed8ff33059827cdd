"""A run's configuration: its schema, how it is loaded, and every check that is made before a start."""
