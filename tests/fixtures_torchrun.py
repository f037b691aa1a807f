"""Trainings of two processes, started as a person would: by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def torchrun():
    """torchrun(*words, options=(), program="train.py") is two processes, not waited for."""
    started = []

    def start(*words: object, options: tuple[str, ...] = (), program: str | Path = "train.py"):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        process = subprocess.Popen(
            [*launcher, "--nproc-per-node=2", *options, str(program), *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)
