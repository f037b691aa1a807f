"""Studies: a question, a factor with its values, and the runs that answer it."""
