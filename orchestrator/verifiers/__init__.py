"""Makes process and outcome reward models: labels from rollouts, training, measures of quality."""
