"""Row 17 of docs/FAULTS.md: the name of an existing run."""

import shlex

import pytest

import train
from engine.runs.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def content(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def trained(tmp_path, tiny_args, capsys) -> Run:
    assert train.main(tiny_args(tmp_path, "--name", "mine", "-e", 1)) == 0
    capsys.readouterr()
    return Run(tmp_path / "mine")


@pytest.mark.parametrize("name", ["mine", "MINE"])
def test_row_17_a_taken_name_is_refused_and_nothing_is_overwritten(
    trained, tiny_args, capsys, name
):
    before = content(trained.path)
    root = trained.path.parent
    assert train.main(tiny_args(root, "--name", name, "--lr", 0.05)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"train.py: run {name!r} already exists; choose another name")
    assert err.count("\n") == 1
    assert content(trained.path) == before
    assert [path.name for path in root.iterdir() if not path.name.startswith(".")] == ["mine"]


def test_row_17_without_a_name_a_second_run_gets_a_free_one(tmp_path, tiny_args):
    for _ in range(2):
        assert train.main(tiny_args(tmp_path, "-e", 1)) == 0
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert names[0].startswith("resnet10-w0.0625-") and names[1] == f"{names[0]}-2"


def test_row_17_resuming_a_finished_run_changes_nothing_and_says_how_to_go_on(trained, capsys):
    before = content(trained.path)
    words = ["--resume", "--name", "mine", "--run-root", str(trained.path.parent)]
    assert train.main(words) == 0
    assert "is finished; --pretrained mine starts a new one from it" in capsys.readouterr().out
    after = content(trained.path)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed <= {"holder.json"}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("--lr 0.05", "--lr: the run has 0.1, not 0.05"),
        ("--epochs 9", "--epochs: the run has 1, not 9"),
        ("--arch vgg11", "--arch: the run has resnet10, not vgg11"),
        ("-m 20", "--milestones: the run has (), not (20,)"),
    ],
)
def test_row_17_a_resume_with_other_settings_is_refused_by_name(trained, capsys, more, named):
    before = content(trained.path)
    words = ["--resume", "--name", "mine", "--run-root", str(trained.path.parent)]
    assert train.main([*words, *shlex.split(more)]) == 2
    err = capsys.readouterr().err
    assert err == f"train.py: {named}; a resumed run keeps its own\n"
    assert content(trained.path) == before
