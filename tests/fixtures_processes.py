"""Python code in a process of its own. A plugin (see conftest.py in the root)."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import pytest

WAIT_S = 120  # a guard against hanging for ever, not a measure of speed
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclasses.dataclass
class Child:
    """Python code at work in a process of its own."""

    process: multiprocessing.process.BaseProcess
    output: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """What it wrote to stdout and stderr so far."""
        return self.output.read_text() if self.output.exists() else ""

    def wait(self) -> int:
        """Its exit code; below 0 the signal that ended it."""
        self.process.join(WAIT_S)
        assert self.process.exitcode is not None, f"the process hangs: {self.text}"
        return self.process.exitcode


BOOT = """
import os, sys
target = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(target, 1), os.dup2(target, 2)
sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
import torch
torch.set_num_threads(1)
"""


@pytest.fixture(scope="session")
def _spawner():
    """Where the system can, forks from a process that has imported torch: 0.1 s instead of 4."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train", "engine.worker"])
    # Python 3.11's server looks for what it preloads on its own path only, and fails silently.
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, [str(REPOSITORY), known]))
    with mock.patch.dict(os.environ, {"PYTHONPATH": path}):
        forkserver.ensure_running()
    return context


@pytest.fixture
def python(_spawner, tmp_path):
    """python(code, **names) starts the code with these names set: a Child, killed at the end."""
    children: list[Child] = []

    def start(code: str, **names: object) -> Child:
        output = tmp_path / f"output-{len(children)}"
        values = {"__name__": "child", "OUTPUT": str(output), **names}
        process = _spawner.Process(target=exec, args=(BOOT + code, values))
        process.start()
        children.append(Child(process, output))
        return children[-1]

    with mock.patch.object(sys, "path", [str(REPOSITORY), *sys.path]):
        yield start
    for child in children:
        child.process.kill()
        child.process.join()
