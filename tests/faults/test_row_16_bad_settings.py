"""Row 16 of docs/FAULTS.md: settings that cannot work."""

import contextlib
import io
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import train
from engine.config import SETTINGS, RunConfig
from engine.errors import DataError
from engine.runs.run import State
from engine.settings import get_field


@pytest.fixture
def refused(capsys, tmp_path, tiny_args):
    """refused(words) is the one line on stderr, once it is shown that nothing was made."""

    def run(*words: str) -> str:
        root = tmp_path / "runs"
        try:
            code = train.main(tiny_args(root, *words))
        except SystemExit as ending:  # argparse's own refusals
            code = ending.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.startswith("train.py: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert not root.exists()
        return err

    return run


KINDS = {int: int, float: float, tuple: int}
NUMBERS = {s.flag: KINDS[s.kind] for s in SETTINGS.values() if s.flag and s.kind in KINDS}
NO_NUMBERS = ["nan", "inf", "-inf", "-1", "1e999", "", "ten", "0x10", "1,0", "1\n2", "9" * 5000]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("flag", NUMBERS)
def test_row_16_a_number_that_cannot_work_is_refused_by_its_flag(refused, flag, value):
    assert flag in refused(f"{flag}={value}")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--lr", "nan"], "--lr: nan is not a finite number"),
        (["--lr", "-1"], "--lr: -1.0 is out of range; use above 0"),
        (["--lr", "0"], "--lr"),
        (["-b", "0"], "--batch-size: 0 is out of range"),
        (["-e", "0"], "--epochs"),
        (["-e", "1.5"], "--epochs: invalid int value: '1.5'"),
        (["--arch", "resnet19"], "--arch: unknown value 'resnet19'; known: resnet10,"),
        (["--width", "0.001"], "--width: 0.001 leaves no channels"),
        (["--width", "65"], "--width: 65.0 is out of range; use above 0, at most 64"),
        (["--holdout", "500"], "--holdout"),
        (
            ["--milestones", "20", "--sche", "cosine_annealing"],
            "--milestones: is for multi_step only, not for cosine_annealing",
        ),
        (["-m", "40", "-m", "20"], "--milestones: give each value once, in ascending order"),
        (
            ["--sche", "multi_step", "--sche-t-max", "5"],
            "--sche-t-max: is for cosine_annealing",
        ),
        (["--optim", "adam", "--nesterov"], "--nesterov: is for sgd only, not for adam"),
        (["--warmup", "3"], "--warmup: 3 exceeds the number of epochs"),
        (["--device", "cuda:99"], "--device"),
        (["--device", "tpu"], "--device: unknown device 'tpu'"),
        (["--data-url", "ftp://example.org"], "--data-url: give an address"),
        (["--pretrained", "gone"], "pretrained: 'gone' is neither a run"),
        (["--pretrained", "x" * 3000], "pretrained"),
        (["--dataset", "nowhere/at/all"], "no data set 'nowhere/at/all': known are cifar10"),
        (["--resume"], "name: --resume needs the --name"),
        (["--resume", "--name", "gone"], "there is no run 'gone'"),
        (["--evaluate", "gone"], "there is no run or weights file 'gone'"),
        (["--evaluate", ""], "there is no run"),
        (["--evaluate", "x" * 3000], "there is no run or weights file"),
        (["--unknown-key", "3"], "unrecognized arguments: --unknown-key 3"),
        (["two\nlines"], "unrecognized arguments: two lines"),
        (["--ep", "3"], "unrecognized arguments: --ep 3"),
        (["--lr"], "--lr: expected one argument"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_row_16_a_setting_that_cannot_work_is_refused_by_name(refused, words, named):
    assert named in refused(*words)


NAMES = ["", ".", "../x", "a/b", "-x", "a b", "pretrained", "PRETRAINED", "con", "a" * 81, "a\nb"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:12])
def test_row_16_a_name_that_cannot_be_a_folder_is_refused(refused, name):
    assert "name" in refused(f"--name={name}")


KNOWN = {s.flag: s.choices for s in SETTINGS.values() if s.choices}
WORDS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)


def judged(words: list[str]) -> RunConfig | str:
    """The config that train.py would prepare, or its line on stderr. Prepares nothing."""
    stderr = io.StringIO()
    with (
        contextlib.redirect_stderr(stderr),
        mock.patch.object(train, "prepare", side_effect=DataError("far enough")) as prepare,
    ):
        try:
            code = train.main([*words, "--run-root", "/nowhere/at/all"])
        except SystemExit as ending:  # argparse's own refusals
            code = ending.code
    if prepare.called:
        return prepare.call_args.args[0]
    assert code == 2
    assert stderr.getvalue().count("\n") == 1
    return stderr.getvalue()


@given(st.sampled_from(sorted(KNOWN)), WORDS)
def test_row_16_any_unknown_choice_is_refused_with_the_known_ones(flag, value):
    verdict = judged([f"{flag}={value}"])
    if value not in KNOWN[flag]:
        assert verdict.startswith(f"train.py: {flag}: unknown value")
        assert f"known: {next(iter(KNOWN[flag]))}" in verdict


@given(st.sampled_from(sorted(NUMBERS)), WORDS | st.integers().map(str) | st.floats().map(str))
def test_row_16_any_text_for_a_number_is_taken_as_it_or_refused_by_the_flag(flag, value):
    verdict = judged([f"{flag}={value}"])
    if isinstance(verdict, str):
        assert flag in verdict
    else:
        path = next(path for path, setting in SETTINGS.items() if setting.flag == flag)
        taken = get_field(verdict, path)
        assert taken == ((NUMBERS[flag](value),) if isinstance(taken, tuple) else float(value))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"epochs": 1' + "0" * 5000 + "}", "{", "[]"])
def test_row_16_a_config_file_that_is_deep_huge_or_damaged_is_refused(make_run, capsys, content):
    run = make_run("a")
    (run.path / "config.json").write_text(content)
    assert train.main(["--resume", "--name", "a", "--run-root", str(run.path.parent)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "train.py: run 'a': config.json is damaged\n")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"epoch": 3}', "epoch: unknown setting"),
        ('{"optim": {"lr": NaN}}', "--lr: nan is not a finite number"),
        ('{"model": {"arch": "resnet19"}}', "--arch: unknown value"),
    ],
)
def test_row_16_a_setting_in_a_config_file_is_refused_by_name(make_run, capsys, content, named):
    run = make_run("a")
    (run.path / "config.json").write_text(content)
    assert train.main(["--resume", "--name", "a", "--run-root", str(run.path.parent)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"train.py: {named}")
    assert err.count("\n") == 1
    assert run.status().state is State.QUEUED
