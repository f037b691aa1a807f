"""Folders of this server. Modules read these attributes at each use, so that tests may set them."""

from __future__ import annotations

import os
from pathlib import Path

# Set by tests and classrooms, to keep runs and data elsewhere.
RUN_ROOT = Path(os.environ.get("PLAYGROUND_RUN_ROOT", "checkpoints"))
DATA_ROOT = Path(os.environ.get("PLAYGROUND_DATA_ROOT", "data"))
SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "pretrained"
