"""Modules of the Train page alone."""
