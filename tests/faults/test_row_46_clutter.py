"""Row 46 of docs/FAULTS.md: what systems, sync tools and notebooks leave behind is left out."""

from __future__ import annotations

import zipfile

import pytest

from engine.data import layout, load
from engine.data.clutter import clutter_in, is_clutter
from engine.errors import DataError

FOLDER = pytest.mark.parametrize("own_set", ["folder"], indirect=True)

FILES = [
    *(".DS_Store", "._cat.png", ".hidden.png", "Thumbs.db", "ehthumbs.db", "Desktop.ini"),
    *("Icon\r", ".~lock.png", ".cat.png.icloud"),
    "cat (Anna's conflicted copy 2026-01-31).png",
    "cat (conflicted copy 2026-01-31 120000).png",
    "cat (Case Conflict).png",
    "cat (Selective Sync Conflict 1).png",
    "cat.sync-conflict-20260131-120000-ABCDEFG.png",
    "cat_conflict-20260131-120000.png",
]
FOLDERS = [
    *("__MACOSX", ".ipynb_checkpoints", "__pycache__", ".git", ".dropbox.cache", ".stversions"),
    *("@eaDir", "@EADIR", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"),
    *("$RECYCLE.BIN", "System Volume Information", "lost+found", "found.000"),
    *("RECYCLER", "RECYCLED", "LOST.DIR"),
    *("Temporary Items", "Network Trash Folder", ".Trash-1000", ".fseventsd", ".Spotlight-V100"),
]
CONTENT = [
    *("cat.png", "conflict", "a conflict (1).png", "cat (copy).png", "found", "recycle", "trash"),
    *("lost and found", "tmp", "icon", "thumbs", "desktop", "conflict-zone", "snapshot", "C#"),
    *("recycled", "Recycler", "lost"),
    *("found.0001", "conflicted", "system", "checkpoints", "pycache", "…", "_cat", "~cat.png"),
]


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_customary_clutter_is_known(name):
    assert is_clutter(name)
    assert clutter_in(f"train/{name}/cat/1.png") == f"train/{name}"


@pytest.mark.parametrize("name", CONTENT)
def test_other_names_are_content(name):
    assert not is_clutter(name) and clutter_in(f"train/{name}") is None


@pytest.fixture
def pets(noisy):
    """Two classes in two splits."""
    names = [
        f"{split}/{c}/{i}.png"
        for split in ("train", "test")
        for c in ("cat", "dog")
        for i in (1, 2)
    ]
    return {name: noisy(seed) for seed, name in enumerate(names)}


def test_it_is_neither_an_image_nor_a_class_and_is_listed(read, pets, noisy):
    clutter = {
        f"{place}/{name}/{i}.png"
        for place in (".", "train", "train/cat")
        for name in ("@eaDir", "#recycle")
        for i in (1, 2)
    }
    clutter |= {"train/cat/cat (Bob's conflicted copy 2026-01-31).png", "lost+found/7.png"}
    entries = pets | {name.removeprefix("./"): noisy(100) for name in clutter}
    data = read(entries)
    assert data.class_counts() == [("cat", 2, 2), ("dog", 2, 2)]
    (note,) = data.notes
    assert "made by systems, sync tools or editors (8)" in note, "a folder counts once"
    assert "'#recycle', '@eaDir', 'lost+found'" in note and "3 more" in note
    assert data.warnings == ()


def test_nothing_is_told_where_nothing_was_left_out(read, pets):
    assert read(pets).notes == ()


def test_thumbnails_beside_photos_do_not_make_a_layout(read, noisy):
    """Class folders without splits: @eaDir is neither a third class nor a second depth."""
    entries = {
        f"{c}/{i}.png": noisy(10 * s + i) for s, c in enumerate(("cat", "dog")) for i in range(5)
    }
    entries |= {
        f"{c}/@eaDir/{i}.png/SYNOPHOTO_THUMB_M.png": noisy(99)
        for c in ("cat", "dog")
        for i in range(5)
    }
    entries["@eaDir/x.png"] = noisy(98)
    assert read(entries).class_counts() == [("cat", 4, 1), ("dog", 4, 1)]


def test_a_folder_that_holds_only_clutter_is_an_empty_class(tmp_path, pets):
    for name, content in {**pets, "train/emu/.DS_Store": b"x"}.items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    with pytest.raises(DataError, match="no images in class 'emu'"):
        load(str(tmp_path / "pets"), tmp_path / "root")


def test_files_that_are_no_images_are_listed(read, pets):
    data = read(pets | {"labels.csv": b"x", "train/cat/boxes.txt": b"x"})
    assert data.notes == ("left out, not images (2): 'labels.csv', 'train/cat/boxes.txt'",)


def test_clutter_in_a_zip_is_checked_like_any_entry(tmp_path, pets):
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in pets.items():
            archive.writestr(name, content)
        archive.writestr("@eaDir/../../evil.png", b"x")
    with pytest.raises(DataError, match="points outside"):
        load(str(path), tmp_path / "root")


@FOLDER
def test_terminal_and_page_list_it(open_own, own_set, pets, train_on, capsys):
    path = own_set(pets | {"train/@eaDir/1.png": b"x", "train/.DS_Store": b"x"})
    assert train_on(path) == 0
    line = "left out, made by systems, sync tools or editors (2): 'train/.DS_Store', 'train/@eaDir'"
    assert f"note: {line}" in capsys.readouterr().out
    told = " ".join(caption.value for caption in open_own(path).caption)
    assert "sync tools or editors (2)" in told.replace("\\", "") and "@eaDir" in told


def test_names_that_were_left_out_cannot_act_on_a_page_or_terminal(read, pets):
    notes = read(pets | {"train/.\x1b[2J": b"x", "train/cat/<b>*.txt": b"x"}).notes
    assert all(note.isprintable() for note in notes)


def test_the_plan_of_many_files_names_a_few():
    files = [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(9)]
    plan = layout.plan([*files, *(f"notes/{i}.txt" for i in range(700))], [], "pets")
    (note,) = plan.notes
    assert note.startswith("left out, not images (700): ") and note.endswith("and 695 more")
