"""Training: the loop, its optimizers, evaluation, and a session that keeps a run's files."""
