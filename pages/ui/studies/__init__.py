"""Modules of the Studies page alone."""
