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
    """torchrun(*words, processes=2, options=()) is train.py in a process group, not waited for."""
    started = []

    def start(*words: object, processes: int = 2, options: tuple[str, ...] = ()):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        program = [f"--nproc-per-node={processes}", *options, "train.py", *map(str, words)]
        process = subprocess.Popen(
            [*launcher, *program],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
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
