"""The page that shows the searches of runs: trees, votes, order and cost."""
