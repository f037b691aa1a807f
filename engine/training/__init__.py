"""Training: preparation, the loop and its steps, optimizers, and sessions of a run."""
