"""The table of runs, its columns, and a CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest

from engine.config import SETTINGS, RunConfig
from engine.runs.run import State
from pages.ui import readings, tables

RESULTS = {
    "Run", "Title", "State", "Final", "Best", "Measured on", "Test", "Time (s)", "Parameters",
    "Created", "Note",
}  # fmt: skip


@pytest.fixture
def table(app):
    """table(): what the page would show of all runs."""
    return lambda: tables.run_table(readings.statuses())


def test_there_is_a_column_for_every_result_and_every_choice(finished, table):
    finished("a", acc=(0.2, 0.5, 0.4), **{"augment.flip": False, "augment.mixup": True})
    shown = table()
    settings = set(tables.setting_cells(RunConfig()))
    assert set(shown) == RESULTS | settings
    assert not RESULTS & settings
    row = shown.iloc[0].to_dict()
    assert (row["Run"], row["State"], row["Final"], row["Best"]) == ("a", "finished", 0.4, 0.5)
    assert (row["Activation"], row["Norm"], row["Augmentations"]) == (
        "relu",
        "batch",
        "Random crop, Mixup",
    )
    assert (row["Width"], row["Batch size"], row["Epochs"], row["Seed"]) == (0.0625, 16, 2, 0)


def test_without_augmentation_it_says_none(finished, table):
    finished("a", **{"augment.crop": False, "augment.flip": False})
    assert table()["Augmentations"].tolist() == ["none"]


def test_accuracies_are_never_shown_without_what_they_were_measured_on(finished, table):
    run = finished("a")
    with run.hold("a test") as writer:
        writer.update(val_is_test=False)
    finished("b")
    assert dict(table()[["Run", "Measured on"]].values) == {"a": "held-out", "b": "test"}


def test_runs_with_held_out_images_can_be_compared_on_the_test_images(finished, table):
    finished("a", acc=(0.2, 0.4))
    run = finished("b", acc=(0.2, 0.5))
    with run.hold("a test") as writer:
        writer.update(val_is_test=False, test_acc=0.45)
    rows = table().set_index("Run")
    assert rows["Test"].to_dict() == {"a": 0.4, "b": 0.45}
    assert rows["Final"].to_dict() == {"a": 0.4, "b": 0.5}


def test_an_own_data_set_shows_its_name_and_not_where_it_lies(finished, table):
    finished("a", **{"data.dataset": "/home/someone/private/cats.zip"})
    assert table()["Data set"].tolist() == ["cats"]


def test_a_run_whose_config_cannot_be_read_has_a_row_without_settings(finished, table):
    finished("good")
    (finished("bad").path / "config.json").write_text('{"epochs": "many"}')
    (finished("worse").path / "config.json").write_text("{")
    rows = table().set_index("Run")
    assert rows["State"].to_dict() == {"good": "finished", "bad": "damaged", "worse": "damaged"}
    assert rows["Architecture"].isna().to_dict() == {"good": False, "bad": True, "worse": True}
    assert rows["Best"]["worse"] == rows["Best"]["good"]


def test_a_run_that_has_not_finished_has_no_final_accuracy(finished, table):
    run = finished("a")
    with run.hold("a test") as writer:
        writer.update(state=State.STOPPED)
    assert table()["Final"].isna().all() and table()["Best"].tolist() == [0.4]


def test_subset_holdout_and_parent_have_columns_and_others_can_be_asked_for(finished):
    finished("a", **{"data.limit": 500, "data.holdout": 50, "pretrained": "some/where/parent"})
    pairs = readings.statuses()
    row = tables.run_table(pairs, ["Weight decay", "Nesterov", "Mixup α"]).iloc[0]
    assert row["Start from the weights of"] == "parent"
    assert row[SETTINGS["data.limit"].label] == 500
    assert row[SETTINGS["data.holdout"].label] == 50
    assert (row["Weight decay"], row["Nesterov"], row["Mixup α"]) == (5e-4, "off", None)
    assert set(tables.USUAL) <= {*row.index}


def test_a_changed_config_is_read_again(finished, table):
    run = finished("a")
    assert table()["Seed"].tolist() == [0]
    path = run.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 8}))
    assert table()["Seed"].tolist() == [8]


def test_only_what_differs_keeps_all_results(finished, table):
    finished("a")
    finished("b", **{"model.arch": "vgg11", "seed": 3})
    columns = tables.only_differing(table())
    assert set(columns) == RESULTS | {"Architecture", "Seed"}
    assert columns == [c for c in table() if c in columns], "in the table's own order"


def test_what_differs_among_some_is_told_with_settings_that_have_no_column(finished):
    finished("a")
    finished("b", **{"optim.weight_decay": 0.1})
    finished("c", **{"model.arch": "vgg11"})
    runs = [run for run, _ in readings.statuses() if run.name in "ab"]
    more = tables.differing_labels(runs)
    assert more == ["Weight decay"]
    columns = tables.only_differing(tables.run_table(readings.statuses(), more), ["a", "b"])
    assert set(columns) == RESULTS | {"Weight decay"}


def test_of_a_single_run_nothing_differs(finished, table):
    finished("a")
    assert set(tables.only_differing(table())) == RESULTS


def test_naming_the_architecture_s_own_activation_is_no_difference(finished, table):
    finished("a")
    finished("b", **{"model.activation": "relu", "model.norm": "batch"})
    assert set(tables.only_differing(table())) == RESULTS


def test_a_choice_that_one_run_lacks_differs():
    shown = pd.DataFrame({"Run": ["a", "b"], "Norm": ["batch", None], "Seed": [1, 1]})
    assert tables.only_differing(shown) == ["Run", "Norm"]


@pytest.mark.parametrize(
    "path",
    ["model.arch", "model.activation", "model.norm", "model.width", "optim.optimizer", "optim.lr"],
)
def test_the_choices_of_a_study_are_all_among_the_columns(finished, table, path):
    changed = {
        "model.arch": "vgg11",
        "model.activation": "mish",
        "model.norm": "group",
        "model.width": 0.5,
        "optim.optimizer": "adam",
        "optim.lr": 0.3,
    }
    assert path in SETTINGS
    finished("a")
    finished("b", **{path: changed[path]})
    assert len(tables.only_differing(table())) == len(RESULTS) + 1


def read(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "  =1",
        "\t=1",
        "\r=1",
        "\n=1",
        '=HYPERLINK("http://evil.example","x")',
        "=cmd|' /C calc'!A0",
        "＝1+1",
        "＠SUM(A1)",
        "\N{ZERO WIDTH SPACE}=1",
        "\ufeff=1",
        "\0=1",
    ],
)
def test_a_cell_that_would_be_run_is_made_a_text(cell):
    rows = read(tables.to_csv(pd.DataFrame({"Note": [cell], cell: ["x"]})))
    assert rows == [["Note", f"'{cell}"], [f"'{cell}", "x"]]


@pytest.mark.parametrize("cell", ["resnet18", "a=b", "1-2", "it's", 'say "x", y', "ünï → ✓", ""])
def test_any_other_text_is_as_it_was(cell):
    assert read(tables.to_csv(pd.DataFrame({"Note": [cell]}))) == [["Note"], [cell]]


def test_lines_and_commas_stay_in_their_cell():
    note = 'first, "second"\nthird\r\nfourth\rfifth'
    rows = read(tables.to_csv(pd.DataFrame({"Note": [note], "Run": ["a"]})))
    assert rows == [["Note", "Run"], [note, "a"]]


def test_numbers_stay_numbers_also_below_0():
    frame = pd.DataFrame({"Final": [-0.25, None], "Seed": [-1, 2], "State": ["x", None]})
    assert read(tables.to_csv(frame)) == [
        ["Final", "Seed", "State"],
        ["-0.25", "-1", "x"],
        ["", "2", ""],
    ]


def test_a_run_s_own_note_cannot_trick_the_spreadsheet(finished, table):
    finished("a").set_note("=1+1")
    header, row = read(tables.to_csv(table()))
    assert row[header.index("Note")] == "'=1+1"
