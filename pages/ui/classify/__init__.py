"""Modules used only by the Classify page."""
