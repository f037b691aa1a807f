"""The run directory: names, records, status, requests; its lock is in test_runs_lock.py."""

import dataclasses
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import runs
from engine.config import RunConfig, with_fields
from engine.errors import ConfigError, RunError
from engine.presets import PRESETS
from engine.runs.run import State, Status

STEP = {"kind": "step", "step": 1, "epoch": 1, "loss": 2.3, "acc": 0.1, "lr": 0.1}
EPOCH = {
    "kind": "epoch", "epoch": 1, "step": 3, "train_loss": 2.3, "train_acc": 0.1, "val_loss": 2.3,
    "val_acc": 0.1, "lr": 0.1,
}  # fmt: skip


def lines(*records) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def steps(*numbers) -> list[dict]:
    return [{**STEP, "step": number} for number in numbers]


def test_a_new_run_is_queued_and_keeps_its_config(make_run, tiny):
    config = tiny(**{"optim.lr": 0.03})
    run = make_run("first", config)
    assert run.config() == config
    assert run.dataset_info() is None
    assert (run.status().state, run.status().epochs) == (State.QUEUED, 2)
    assert run.records() == ([], 0)
    assert (run.log(), run.requested()) == ("", None)
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "status.json"]


@pytest.mark.parametrize("name", ["a", "resnet18-mish-2", "0.1+x_y", "A" * 80])
def test_a_plain_name_is_accepted(name):
    runs.check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        ".hidden",
        "-flag",
        "a.",
        "a b",
        "a\n",
        "a\0",
        "é",
        "A" * 81,
    ],
)
def test_a_name_that_is_no_folder_everywhere_is_refused(name):
    with pytest.raises(ConfigError) as refusal:
        runs.check_name(name)
    assert refusal.value.field == "name"


@pytest.mark.parametrize("name", ["pretrained", "Pretrained", "con", "NUL", "com1", "lpt9.txt"])
def test_a_name_with_another_meaning_is_reserved(name):
    with pytest.raises(ConfigError, match="reserved"):
        runs.check_name(name)


@given(st.text(max_size=90))
def test_an_accepted_name_is_one_plain_part_of_a_path(name):
    try:
        runs.check_name(name)
    except ConfigError:
        return
    assert name.isascii()
    assert name[0].isalnum()
    assert not set(name) & set('/\\:*?"<>| \0')


@pytest.mark.parametrize("again", ["first", "FIRST", "First"])
def test_a_taken_name_is_refused_whatever_its_case_and_nothing_is_overwritten(make_run, again):
    run = make_run("first")
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(RunError, match=r"exists.*choose another name, or resume"):
        make_run(again, RunConfig())
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_the_list_has_the_newest_first_and_passes_over_what_is_no_run(make_run, tmp_path):
    for age, name in enumerate(["c", "a", "b"]):
        run = make_run(name)
        os.utime(run.path / "config.json", (1000 + age, 1000 + age))
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / ".d.1.tmp").mkdir()
    (tmp_path / "file").write_text("x")
    assert [run.name for run in runs.list_runs(tmp_path)] == ["b", "a", "c"]
    assert runs.list_runs(tmp_path / "absent") == []


def test_a_suggested_name_tells_the_choices_and_is_free(make_run, tmp_path):
    def named(preset: str, **changes) -> str:
        return runs.suggest_name(tmp_path, with_fields(PRESETS[preset].config(), changes))

    assert named("minute") == "vgg11-w0.25"
    assert named("study", **{"model.activation": "mish", "seed": 3}) == "resnet18-mish-seed3"
    changes = {"optim.lr": 0.05, "augment.flip": False, "augment.mixup": True, "seed": 2}
    assert named("minute", **changes) == "vgg11-w0.25-mixup-no-flip-lr0.05-seed2"
    make_run("VGG11-w0.25")
    make_run("vgg11-w0.25-2")
    assert named("minute") == "vgg11-w0.25-3"
    odd = {"data.dataset": "/some where/my pets!", "pretrained": "runs/a/last.safetensors"}
    name = named("speedrun", **odd)
    assert name == "speedrun-from-a-my-pets"
    everything = {"optim.momentum": 0.123456789, "optim.weight_decay": 0.0123456, "epochs": 123456}
    runs.check_name(named("speedrun", **odd, **everything, seed=2**31 - 1))


def test_opening_finds_a_run_or_says_that_there_is_none(make_run, tmp_path):
    make_run("here")
    assert runs.open_run(tmp_path, "here").status().state is State.QUEUED
    with pytest.raises(RunError, match="there is no run 'gone'"):
        runs.open_run(tmp_path, "gone")
    with pytest.raises(ConfigError):
        runs.open_run(tmp_path, "../here")


DAMAGE = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"state": "dancing"}']


@pytest.mark.parametrize("content", DAMAGE, ids=lambda content: repr(content[:12]))
def test_a_damaged_config_is_a_run_error_or_config_error_that_names_it(make_run, content):
    run = make_run()
    (run.path / "config.json").write_bytes(content)
    with pytest.raises((RunError, ConfigError), match=r"config\.json|state: unknown"):
        run.config()


@pytest.mark.parametrize("content", DAMAGE, ids=lambda content: repr(content[:12]))
def test_a_run_with_a_damaged_status_is_damaged_and_says_what_to_do(make_run, content):
    run = make_run()
    with run.hold("test") as writer:
        writer.append([EPOCH, {**EPOCH, "epoch": 2, "val_acc": 0.05}])
    (run.path / "status.json").write_bytes(content)
    status = run.status()
    assert status.state is State.DAMAGED
    assert "status.json is damaged; resume the run" in status.message
    assert (status.final_acc, status.best_acc, status.best_epoch) == (0.05, 0.1, 1)
    with run.hold("test") as writer:  # what is written from then on is a status again
        assert writer.status.state is State.INTERRUPTED
        writer.begin((State.INTERRUPTED,))
        writer.update(state=State.STOPPED)
    assert run.status().state is State.STOPPED
    assert run.status().best_acc == 0.1


def test_a_run_of_a_newer_version_is_refused(make_run):
    run = make_run()
    values = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps({**values, "schema": 99}))
    with pytest.raises(RunError, match="newer version"):
        run.config()


def test_a_status_with_fields_of_a_newer_version_is_read(make_run):
    run = make_run()
    values = dataclasses.asdict(Status(step=7))
    (run.path / "status.json").write_text(json.dumps({**values, "mood": "fine"}))
    assert run.status() == Status(step=7)


def test_records_are_read_from_an_offset_on(make_run):
    run = make_run()
    path = run.path / "metrics.jsonl"
    path.write_bytes(lines(STEP))
    first, offset = run.records()
    assert (first, offset) == ([STEP], len(lines(STEP)))
    assert run.records(offset) == ([], offset)
    path.write_bytes(lines(STEP, EPOCH))
    assert run.records(offset) == ([EPOCH], len(lines(STEP, EPOCH)))


@pytest.mark.parametrize("cut", range(1, len(lines(EPOCH))))
def test_a_torn_last_line_is_left_until_it_is_whole(make_run, cut):
    run = make_run()
    path = run.path / "metrics.jsonl"
    path.write_bytes(lines(STEP) + lines(EPOCH)[:-cut])
    records, offset = run.records()
    assert (records, offset) == ([STEP], len(lines(STEP)))
    path.write_bytes(lines(STEP, EPOCH))
    assert run.records(offset)[0] == [EPOCH]


def test_an_offset_past_the_end_starts_over(make_run):
    run = make_run()
    (run.path / "metrics.jsonl").write_bytes(lines(STEP))
    assert run.records(10_000) == ([STEP], len(lines(STEP)))


@pytest.mark.parametrize(
    "junk",
    [b'{"kind": "st', b"nonsense", b"\xff", b"[1]", b'{"kind": "mood"}', b"[" * 100_000, b""],
)
def test_a_line_that_is_no_record_is_passed_over(make_run, junk):
    run = make_run()
    (run.path / "metrics.jsonl").write_bytes(lines(STEP) + junk + b"\n" + lines(EPOCH))
    assert run.records()[0] == [STEP, EPOCH]


def test_the_epochs_alone_are_those_among_the_records(make_run):
    run = make_run()
    assert run.epochs() == []
    with run.hold("test") as writer:
        writer.append([*steps(1, 2, 3), EPOCH, *steps(4), {**EPOCH, "epoch": 2, "step": 6}])
        assert [record["epoch"] for record in run.epochs()] == [1, 2]
        with (run.path / "metrics.jsonl").open("ab") as file:
            file.write(lines(EPOCH)[:20])
        assert run.epochs() == [r for r in run.records()[0] if r["kind"] == "epoch"]
        writer.trim(step=3, epochs_done=1)
    assert run.epochs() == [EPOCH]


def test_trimming_drops_what_is_past_the_checkpoint_and_a_torn_line(make_run):
    run = make_run()
    with run.hold("test") as writer:
        writer.append([*steps(1, 2, 3), EPOCH, *steps(4, 5), {**EPOCH, "epoch": 2, "step": 5}])
        with (run.path / "metrics.jsonl").open("ab") as file:
            file.write(b'{"kind": "step", "st')
        writer.trim(4, 1)
        assert run.records()[0] == [*steps(1, 2, 3), EPOCH, *steps(4)]
        writer.append(steps(5))
    assert run.records()[0] == [*steps(1, 2, 3), EPOCH, *steps(4, 5)]


def test_trimming_to_a_checkpoint_before_the_epochs_validation_drops_its_record(make_run):
    run = make_run()
    with run.hold("test") as writer:
        writer.append([*steps(1, 2, 3), EPOCH])
        writer.trim(3, 0)
    assert run.records()[0] == steps(1, 2, 3)


def test_steps_are_missed_only_where_they_were_recorded(make_run):
    with make_run().hold("test") as writer:
        writer.append([*steps(1, 2, 3), EPOCH, {**EPOCH, "epoch": 2, "step": 6}])
        assert writer.trim(6, 2) == writer.trim(6, 2, [(1, 1), (3, 1)]) == ""
        assert "lacks records of epoch 2" in writer.trim(6, 2, [(1, 1), (4, 2)])
        assert "lacks records of epochs 2 to 3" in writer.trim(7, 2, [(4, 2), (7, 3)])


def test_a_request_waits_until_the_next_sitting_begins(make_run):
    run = make_run()
    run.request("pause")
    assert run.requested() == "pause"
    run.request("stop")
    assert run.requested() == "stop"
    with run.hold("test") as writer:
        writer.begin((State.QUEUED,))
    assert run.requested() is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"command": "format"}', '{"command": ["stop"]}']
)
def test_a_request_that_is_damaged_or_unknown_is_none(make_run, content):
    run = make_run()
    (run.path / "control.json").write_text(content)
    assert run.requested() is None
    with pytest.raises(ValueError, match="unknown command"):
        run.request("format")


def test_a_run_begins_from_allowed_states_only(make_run):
    run = make_run()
    with run.hold("test") as writer:
        writer.update(state=State.FINISHED)
        with pytest.raises(RunError, match="'a' is finished and cannot be started"):
            writer.begin((State.QUEUED,))
        assert run.status().state is State.FINISHED


def test_the_log_is_appended_with_the_time_in_front(make_run):
    run = make_run()
    with run.hold("test") as writer:
        writer.log("first ×\n")
        writer.log("second")
    first, second = run.log().splitlines()
    assert first.endswith(" first ×")
    assert second.endswith(" second")


def test_making_a_run_where_a_file_is_says_so_and_leaves_nothing(tmp_path, tiny):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="cannot create a run in"):
        runs.create(tmp_path / "file", "a", tiny())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_title_is_one_printable_line_of_limited_length(make_run):
    run = make_run("a")
    assert run.title() == ""
    run.set_title("  two\nlines \u202eof\ttext\ud800 ")
    assert run.title() == "two lines of text"
    run.set_title("x" * 79 + " yz")
    assert run.title() == "x" * 79
    (run.path / "title.txt").write_bytes(b"from \x07outside " + b"y" * 500)
    assert run.title() == "from outside " + "y" * 67
    run.set_title(" ")
    assert not (run.path / "title.txt").exists()
    run.set_title("")  # none to remove
