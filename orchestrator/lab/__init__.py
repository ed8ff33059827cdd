"""Makes the lab's puzzles, and trains and measures the lab's models."""
