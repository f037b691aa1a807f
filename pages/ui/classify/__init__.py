"""Modules of the Classify page alone."""
