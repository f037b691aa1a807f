"""Runs on disk: their folders, files and checkpoints, and comparisons of their configs."""

from engine.runs.folder import (
    SHIPPED,
    check_free,
    check_name,
    create,
    delete,
    find_run,
    list_runs,
    move_data,
    open_run,
    rename,
    suggest_name,
    sweep,
)

__all__ = [
    "SHIPPED",
    "check_free",
    "check_name",
    "create",
    "delete",
    "find_run",
    "list_runs",
    "move_data",
    "open_run",
    "rename",
    "suggest_name",
    "sweep",
]
