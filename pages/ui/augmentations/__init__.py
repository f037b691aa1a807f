"""Modules used only by the Augmentations page."""
