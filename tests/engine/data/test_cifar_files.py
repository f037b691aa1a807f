"""Loading of the CIFAR archives, with a small archive of the same layout."""

import dataclasses
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
import torchvision.datasets

from engine.data import cifar, is_available, load
from engine.errors import DataError

NAMES = [f"class {i}" for i in range(10)]


def md5(content):
    return hashlib.md5(content).hexdigest()


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def batch(count, first, label_key):
    """Row i has the constant value first + i, except for the first pixel of each channel."""
    data = np.repeat(np.arange(first, first + count, dtype=np.uint8)[:, None], 3072, axis=1)
    data[:, 0], data[:, 1024], data[:, 2048] = 201, 202, 203
    labels = [(first + i) % 10 for i in range(count)]
    return pickle.dumps({"data": data, label_key: labels}, protocol=2)


@pytest.fixture(params=["CIFAR10", "CIFAR100"])
def tiny(request, monkeypatch):
    """The spec of a small archive, which replaces the real one, and the content of the archive."""
    real = getattr(cifar, request.param)
    files = {
        name: batch(4, 4 * index, real.label_key)
        for index, name in enumerate([*real.train, *real.test])
    }
    files |= {name: pickle.dumps({real.classes_key: NAMES}, protocol=2) for name in real.meta}
    archive = tar({f"{real.folder}/{name}": content for name, content in files.items()})
    spec = dataclasses.replace(
        real,
        md5=md5(archive),
        train={name: md5(files[name]) for name in real.train},
        test={name: md5(files[name]) for name in real.test},
        meta={name: md5(files[name]) for name in real.meta},
        url="http://127.0.0.1:9/must-not-be-asked",
    )
    monkeypatch.setattr(cifar, request.param, spec)
    return spec, archive


def check(data, spec):
    count = 4 * len(spec.train)
    assert data.name == spec.name and data.classes == tuple(NAMES)
    assert data.train_images.shape == (count, 3, 32, 32) and data.test_images.shape[0] == 4
    assert data.train_images.dtype == torch.uint8 and data.train_labels.dtype == torch.int64
    assert data.train_images[:, :, 0, 0].unique(dim=0).tolist() == [[201, 202, 203]]
    assert data.train_images[:, 0, 5, 5].tolist() == list(range(count))
    assert data.train_labels.tolist() == [i % 10 for i in range(count)]
    assert data.test_images[:, 2, 31, 31].tolist() == list(range(count, count + 4))


def test_from_the_archive_then_from_the_folder_it_leaves(tiny, tmp_path):
    spec, archive = tiny
    (tmp_path / spec.archive).write_bytes(archive)
    assert is_available(spec.name, tmp_path)
    check(load(spec.name, tmp_path), spec)
    (tmp_path / spec.archive).unlink()
    assert is_available(spec.name, tmp_path)
    check(load(spec.name, tmp_path), spec)


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: b"", lambda c: c[:-9] + b"evil" + c[-5:]]
)
def test_a_damaged_folder_is_repaired_from_the_archive(tiny, tmp_path, damage):
    spec, archive = tiny
    (tmp_path / spec.archive).write_bytes(archive)
    load(spec.name, tmp_path)
    file = tmp_path / spec.folder / next(iter(spec.train))
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    check(load(spec.name, tmp_path), spec)
    assert file.read_bytes() == whole


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle of unknown MD5 was opened",))


def test_a_foreign_pickle_is_never_opened(tiny, tmp_path):
    spec, archive = tiny
    (tmp_path / spec.archive).write_bytes(archive)
    load(spec.name, tmp_path)
    for name in spec.files:
        (tmp_path / spec.folder / name).write_bytes(pickle.dumps(Evil()))
    check(load(spec.name, tmp_path), spec)


def test_an_archive_of_the_right_md5_with_other_files_is_refused(tiny, tmp_path, monkeypatch):
    """Its other members are not extracted."""
    spec, _ = tiny
    evil = pickle.dumps(Evil())
    members = {f"{spec.folder}/{name}": evil for name in spec.files}
    archive = tar(members | {"../outside": b"x", "/tmp/outside": b"x"})
    other = dataclasses.replace(spec, md5=md5(archive))
    monkeypatch.setattr(cifar, "CIFAR10" if spec.name == "cifar10" else "CIFAR100", other)
    root = tmp_path / "root"
    root.mkdir()
    (root / spec.archive).write_bytes(archive)
    with pytest.raises(DataError, match="not the known archive"):
        load(spec.name, root)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert not (root / spec.folder).exists()


def test_availability_is_seen_to_change(tiny, tmp_path):
    spec, archive = tiny
    path = tmp_path / spec.archive
    assert not is_available(spec.name, tmp_path)
    path.write_bytes(archive[:-1])
    assert not is_available(spec.name, tmp_path)
    path.write_bytes(archive)
    assert is_available(spec.name, tmp_path)
    path.unlink()
    assert not is_available(spec.name, tmp_path)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_names_and_md5s_are_torchvision_s(name):
    ours, theirs = getattr(cifar, name), getattr(torchvision.datasets, name)
    assert ours.url == theirs.url and ours.archive == theirs.filename
    assert ours.md5 == theirs.tgz_md5 and ours.folder == theirs.base_folder
    assert list(ours.train.items()) == [tuple(pair) for pair in theirs.train_list]
    assert list(ours.test.items()) == [tuple(pair) for pair in theirs.test_list]
    assert ours.meta == {theirs.meta["filename"]: theirs.meta["md5"]}
    assert ours.classes_key == theirs.meta["key"]


def test_a_pickle_of_python_2_is_read(tmp_path):
    """As in the real files, keys and array data are Python 2 strings."""
    pixels = bytes(range(256)) * 12
    content = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
        b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K"
        b"\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00"
        b"\x00" + pixels + b"tbU\x06labelsq\x08]q\x09K\x06au."
    )
    images, labels = cifar.decode(cifar.CIFAR10, [content])
    assert images.numpy().tobytes() == pixels and labels.tolist() == [6]
