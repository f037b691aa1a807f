"""Row 25 of docs/FAULTS.md: SIGKILL at each stage of a save."""

import os
import signal
from pathlib import Path

import pytest
import torch

from engine.runs.checkpoint import CheckpointStore, load_weights

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

# Forks once for every system call of a save and dies in its stead; a write dies half done.
CODE = """
import io, os, shutil, signal
from pathlib import Path
import torch
from engine.runs.checkpoint import CheckpointStore

CALLS = ("fsync", "replace", "mkdir", "unlink", "rmdir")
calls = 0

def save(folder, value):
    weights = {"w": torch.full((1000,), float(value))}
    CheckpointStore(Path(folder), {"schema": "1"}).save(STEP, weights, {"step": STEP, "v": value})

def count(fatal, before_dying=lambda: None):
    global calls
    calls += 1
    if calls == fatal:
        before_dying()
        os.kill(os.getpid(), signal.SIGKILL)

def arm(fatal):
    for name in CALLS:
        def deadly(*args, real=getattr(os, name), **options):
            count(fatal)
            return real(*args, **options)
        setattr(os, name, deadly)
    real_open = io.open

    class Deadly:
        def __init__(self, file):
            self.file = file
        def __enter__(self):
            return self
        def __exit__(self, *error):
            self.file.close()
        def __getattr__(self, name):
            return getattr(self.file, name)
        def write(self, content):
            def half():
                self.file.write(bytes(content)[: len(content) // 2])
                self.file.flush()
            count(fatal, half)
            return self.file.write(content)

    def deadly_open(file, mode="r", *args, **options):
        opened = real_open(file, mode, *args, **options)
        return Deadly(opened) if "w" in mode else opened
    io.open = deadly_open

for fatal in range(1, 200):
    folder = f"{BASE}-{fatal:03}"
    shutil.copytree(BASE, folder)
    child = os.fork()
    if child == 0:
        arm(fatal)
        save(folder, 3)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(f"end {os.waitstatus_to_exitcode(status)}", flush=True)
    if status == 0:
        break
"""


@pytest.mark.parametrize("step", [3, 2], ids=["of a new step", "of the same step again"])
def test_row_25_after_a_kill_at_any_stage_a_whole_checkpoint_loads(tmp_path, python, step):
    base = tmp_path / "run"
    base.mkdir()
    for value in (1, 2):
        save(base, value, value)
    child = python(CODE, BASE=str(base), STEP=step)
    assert child.wait() == 0, child.text
    ends = [int(line.split()[1]) for line in child.text.splitlines() if line.startswith("end")]
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0]
    folders = sorted(tmp_path.glob("run-*"))
    assert len(folders) == len(ends) > 15, "fewer stages than a save has calls"

    loaded = [check_whole(folder) for folder in folders]
    assert loaded[0] == 2
    assert loaded[-1] == 3
    assert loaded == sorted(loaded), "a later death lost what an earlier one kept"
    for folder in folders:
        check_that_a_next_save_works(folder)


def save(folder: Path, step: int, value: int) -> None:
    weights = {"w": torch.full((1000,), float(value))}
    CheckpointStore(folder, {"schema": "1"}).save(step, weights, {"step": step, "v": value})


def check_whole(folder: Path) -> int:
    """Which save the newest checkpoint is from, once it is shown to be of one piece."""
    checkpoint = CheckpointStore(folder, {}).load_newest()
    value = checkpoint.state["v"]
    assert torch.equal(checkpoint.weights["w"], torch.full((1000,), float(value)))
    last, _ = load_weights(folder / "last.safetensors")
    assert last["w"].unique().numel() == 1
    assert last["w"][0] >= value, "last.safetensors is older than what a resume goes on from"
    return value


def check_that_a_next_save_works(folder: Path) -> None:
    save(folder, 4, 4)
    assert check_whole(folder) == 4
    names = {path.name for path in (folder / "resume").iterdir()}
    assert len(names) == 2
    assert "4" in names
    assert {path.name for path in folder.iterdir()} == {"resume", "last.safetensors"}
