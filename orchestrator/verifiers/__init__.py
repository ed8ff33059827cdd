"""Process and outcome reward models: labels by rollouts, training, and measures of quality."""
