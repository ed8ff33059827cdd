"""A process reward model the paper's way: rollouts label steps, and a model learns the labels."""
