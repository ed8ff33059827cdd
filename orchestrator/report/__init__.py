"""The HTML page of an experiment: tables, figures, and claims of the literature, each with a verdict."""
