"""The cache of decoded images: exact, verified, recreated when damaged."""

import errno

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.data import cache
from engine.data.progress import Watch
from engine.data.types import ImageData
from engine.errors import DataError


def make_data(value=7):
    images = torch.full((6, 3, 32, 32), value, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    mean, std = (0.1, 0.2, 1 / 3), (0.25, 0.5, 1.0)
    test = images[:2].clone(), labels[:2].clone()
    return ImageData("näme", ("cat", "été"), mean, std, images, labels, *test)


def never():
    raise AssertionError("made again")


def same(a, b):
    tensors = all(torch.equal(getattr(a, name), getattr(b, name)) for name in cache.TENSORS)
    return tensors and (a.name, a.classes, a.mean, a.std) == (b.name, b.classes, b.mean, b.std)


@pytest.fixture
def file(tmp_path):
    """A valid cache file."""
    cache.cached(tmp_path, "key", make_data, Watch())
    return tmp_path / "cache" / "key.safetensors"


def test_what_was_kept_comes_back_exactly(file, tmp_path):
    assert same(cache.cached(tmp_path, "key", never, Watch()), make_data())


def test_another_key_is_made_for_itself(file, tmp_path):
    assert same(cache.cached(tmp_path, "other", lambda: make_data(9), Watch()), make_data(9))
    assert same(cache.cached(tmp_path, "key", never, Watch()), make_data())


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def empty(file):
    file.write_bytes(b"")


def text(file):
    file.write_text("not a cache" * 100)


def flip_an_image_byte(file):
    content = bytearray(file.read_bytes())
    content[-500] ^= 1
    file.write_bytes(content)


def drop_metadata(file):
    save_file(load_file(file), file)


def other_schema(file):
    content = file.read_bytes()
    changed = content.replace(b'\\"schema\\": %d' % cache.SCHEMA, b'\\"schema\\": 0')
    assert changed != content
    file.write_bytes(changed)


def drop_a_tensor(file):
    about = {"about": cache.json.dumps({"schema": cache.SCHEMA})}
    save_file({"train_images": torch.zeros(1)}, file, metadata=about)


@pytest.mark.parametrize(
    "damage",
    [truncate, empty, text, flip_an_image_byte, drop_metadata, other_schema, drop_a_tensor],
)
def test_a_damaged_file_is_made_again(file, tmp_path, damage):
    damage(file)
    assert cache.read(file) is None
    assert same(cache.cached(tmp_path, "key", lambda: make_data(3), Watch()), make_data(3))
    assert same(cache.cached(tmp_path, "key", never, Watch()), make_data(3))


def test_loaded_tensors_do_not_hold_the_file(file, tmp_path):
    data = cache.cached(tmp_path, "key", never, Watch())
    empty(file)  # would crash a reader of the memory map
    assert int(data.train_images.sum()) == 7 * 6 * 3 * 32 * 32


def test_what_making_raises_goes_through_and_nothing_is_kept(tmp_path):
    def fail():
        raise DataError("no such thing")

    with pytest.raises(DataError, match="no such thing"):
        cache.cached(tmp_path, "key", fail, Watch())
    assert not list(tmp_path.rglob("key*"))


def test_a_full_disk_is_one_clear_error_and_leaves_no_staging_file(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        cache.cached(tmp_path, "key", make_data, Watch())
    assert not list(tmp_path.rglob("key*"))


def test_a_root_that_is_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "root").write_text("here")
    with pytest.raises(DataError, match="cannot be kept"):
        cache.cached(tmp_path / "root", "key", make_data, Watch())
