"""Many searches at once: the controller, a run and its record, and sweeps."""
