"""The budget: FLOPs of a forward pass, the units that a budget is given in, and the ledger that pays."""
