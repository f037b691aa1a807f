"""Modules of the Runs page alone."""
