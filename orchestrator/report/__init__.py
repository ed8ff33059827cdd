"""The HTML page of an experiment: figures, tables, and claims of the literature with a verdict each."""
