"""Modules used only by the Inspect page."""
