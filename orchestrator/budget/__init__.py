"""What work costs: FLOPs of a forward pass, the units a budget is given in, and the ledger that pays."""
