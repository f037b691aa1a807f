"""Modules of the Augmentations page alone."""
