"""Row 14 of docs/FAULTS.md: killed during an import."""

import io
import zipfile

import pytest
import torch
from PIL import Image

from engine.data import load

EXIT = 9

# Each ends the process at one stage of an import, as a power cut would: nothing is cleaned up.
STAGES = {
    "decoding": "from engine.data import images\nimages.open_rgb = lambda content: os._exit(9)",
    "half written": (
        "from engine.data import cache\n"
        "def save(tensors, path, metadata):\n"
        "    path.write_bytes(b'half of it')\n"
        "    os._exit(9)\n"
        "cache.save_file = save"
    ),
    "synced": "os.fsync = lambda handle: os._exit(9)",
    "renamed": "os.replace = lambda source, target: os._exit(9)",
    "just after": (
        "before = os.replace\n"
        "def replace(source, target):\n"
        "    before(source, target)\n"
        "    os._exit(9)\n"
        "os.replace = replace"
    ),
}
IMPORT = """
import os
from pathlib import Path
import engine.data
{hook}
engine.data.load(PATH, Path(ROOT))
"""


def make_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "test"):
            for shade, name in ((50, "cat"), (150, "dog")):
                file = io.BytesIO()
                Image.new("L", (32, 32), shade).save(file, "PNG")
                archive.writestr(f"{split}/{name}/1.png", file.getvalue())
    return path


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_stage(tmp_path, python, stage):
    path, root = make_zip(tmp_path / "pets.zip"), tmp_path / "root"
    killed = python(IMPORT.format(hook=STAGES[stage]), PATH=str(path), ROOT=str(root))
    assert killed.wait() == EXIT
    visible = list(root.rglob("*.safetensors"))
    staged = list(root.rglob("*.partial"))
    assert bool(visible) == (stage == "just after")
    assert bool(staged) == (stage in ("half written", "synced", "renamed"))

    data = load(str(path), root)
    assert data.classes == ("cat", "dog")
    assert data.train_images.float().mean((1, 2, 3)).tolist() == [50, 150]
    assert not list(root.rglob("*.partial"))
    assert len(list(root.rglob("*.safetensors"))) == 1
    assert torch.equal(load(str(path), root).train_images, data.train_images)


def test_the_remains_of_another_import_are_swept_too(tmp_path):
    path, root = make_zip(tmp_path / "pets.zip"), tmp_path / "root"
    (root / "cache").mkdir(parents=True)
    (root / "cache" / "zip-of-long-ago.safetensors.partial").write_bytes(b"half")
    load(str(path), root)
    assert not list(root.rglob("*.partial"))
