"""Temperature of a network's softmax, stored beside its weights: `last.temperature.json`.

It holds for one file of weights, whose SHA-256 it names; training on makes it void.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from engine.errors import RunError
from engine.files import read_regular, reason, sha256, write_atomic

SCHEMA = 1
MAX_BYTES = 2**16


def path_of(weights: Path) -> Path:
    """The file beside `weights` that holds their temperature."""
    return weights.with_suffix(".temperature.json")


def read(weights: Path) -> float | None:
    """The temperature, above 0; None if there is none for these weights."""
    try:
        stored = json.loads(read_regular(path_of(weights), MAX_BYTES))
        fits = stored["schema"] == SCHEMA and stored["weights"] == sha256(weights)
        value = float(stored["temperature"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if fits and 0 < value < math.inf else None


def write(weights: Path, digest: str, value: float, about: dict[str, Any]) -> None:
    """Store the temperature of weights with this SHA-256. Raises RunError if it cannot be written.

    about: how it was determined, in plain types.
    """
    content = {"schema": SCHEMA, "weights": digest, "temperature": value, **about}
    path = path_of(weights)
    try:
        write_atomic(path, json.dumps(content, indent=2), durable=False)
    except OSError as error:
        raise RunError(f"{path.name} cannot be written: {reason(error)}") from error
