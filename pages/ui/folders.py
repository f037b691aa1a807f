"""Folders of this server. Read these attributes at each use, so that tests can set them."""

from __future__ import annotations

import os
from pathlib import Path

from engine import runs

# The environment variables relocate runs, studies and data, for tests and classrooms.
RUN_ROOT = Path(os.environ.get("PLAYGROUND_RUN_ROOT", "checkpoints"))
STUDY_ROOT = Path(os.environ.get("PLAYGROUND_STUDY_ROOT", "studies"))
DATA_ROOT = Path(os.environ.get("PLAYGROUND_DATA_ROOT", "data"))
SHIPPED = runs.SHIPPED
