"""Row 13 of docs/FAULTS.md: one corrupt image of 500."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from engine.data import load
from engine.errors import DataError


@pytest.fixture(scope="module")
def entries():
    """500 JPEGs of two classes."""
    rng = np.random.default_rng(0)
    found = {}
    for index in range(500):
        file = io.BytesIO()
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "JPEG")
        found[f"{('cat', 'dog')[index % 2]}/{index:03}.jpg"] = file.getvalue()
    return found


def make_zip(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def make_folder(path, entries):
    for name, content in entries.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "last bytes": lambda content: content[:-20],
    "text": lambda content: b"404 not found",
    "head": lambda content: b"\0\0\0\0" + content[4:],
}


@pytest.mark.parametrize("make", [make_zip, make_folder])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_one_of_500_is_named_and_nothing_is_kept(tmp_path, entries, make, damage):
    bad = entries | {"dog/357.jpg": damage(entries["dog/357.jpg"])}
    path = make(tmp_path / "pets", bad)
    with pytest.raises(DataError, match=r"1 of 500 images.*dog/357\.jpg: ") as error:
        load(str(path), tmp_path / "root")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "root").rglob("*.safetensors*"))


def test_many_are_counted_and_the_first_few_named(tmp_path, entries):
    broken = sorted(entries)[:40]
    path = make_zip(tmp_path / "pets.zip", entries | dict.fromkeys(broken, b"broken"))
    with pytest.raises(DataError, match="40 of 500 images") as error:
        load(str(path), tmp_path / "root")
    named = [name for name in broken if name in str(error.value)]
    assert len(named) == 10 and "and 30 more" in str(error.value)
    assert len(str(error.value)) < 1000


def test_repaired_it_loads(tmp_path, entries):
    path = make_zip(tmp_path / "pets.zip", entries | {"dog/357.jpg": b""})
    with pytest.raises(DataError):
        load(str(path), tmp_path / "root")
    data = load(str(make_zip(path, entries)), tmp_path / "root")
    assert len(data.train_labels) + len(data.test_labels) == 500
