"""One global budget over many problems: who gets the next FLOP.

``uniform`` cuts it into equal leases. Under a policy (``adaptive``) leases start empty and grow in rounds.
"""
