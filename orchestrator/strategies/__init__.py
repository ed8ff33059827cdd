"""Search strategies, one file each, that read like the pseudocode of their papers."""
