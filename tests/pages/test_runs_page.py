"""Runs: the table, the comparison, one run in detail, and what may be done to it."""

from __future__ import annotations

import io
import math
import zipfile

import pytest
import streamlit as st

from engine import runs
from engine.errors import RunError
from engine.models import build_model
from engine.runs import trash
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import Run, State
from pages.ui import axes, curves, folders, process, rendering, tables
from pages.ui import charts as single
from pages.ui.downloads import csv, rendered
from pages.ui.runs import charts as several
from pages.ui.runs.comparison import group_labels
from pages.ui.runs.exporting import zipped
from tests.fixtures_app import epoch_row, step_row

PAGE = "pages/2_Runs.py"


def warnings(at) -> str:
    return "\n".join(warning.value for warning in at.warning)


def test_the_empty_page_says_what_to_do(app):
    at = app(PAGE)
    assert not at.exception
    assert "No runs yet" in at.info[0].value


def test_the_table_has_every_run_and_names_what_was_measured(app, finished):
    finished("a")
    finished("b", **{"model.arch": "vgg11"})
    at = app(PAGE)
    table = at.dataframe[0].value
    assert set(table["Run"]) == {"a", "b"}
    assert set(table["Architecture"]) == {"resnet10", "vgg11"}
    assert set(table["Measured on"]) == {"test"}


def test_the_filter_keeps_matching_rows_only(app, finished):
    finished("a")
    finished("b", **{"model.arch": "vgg11"})
    at = app(PAGE)
    at.text_input(key="filter").set_value("vgg finished").run()
    assert list(at.dataframe[0].value["Run"]) == ["b"]
    at.text_input(key="filter").set_value("nothing-like-it").run()
    assert "No run matches" in at.info[0].value


def test_columns_order_filter_and_ticks_are_kept_in_the_link(app, finished):
    finished("a", acc=(0.2, 0.4))
    finished("b", acc=(0.2, 0.6), **{"model.arch": "vgg11"})
    finished("c", acc=(0.2, 0.5), **{"optim.weight_decay": 0.1})
    at = app(PAGE)
    usual = [column for column in tables.USUAL if column != "Title"]  # no run has one
    assert list(at.dataframe[0].value) == usual
    at.multiselect(key="columns").set_value(["Final", "Weight decay"]).run()
    at.selectbox(key="order").set_value("final").run()
    assert at.dataframe[0].value.values.tolist() == [
        ["b", 60.0, 5e-4], ["c", 50.0, 0.1], ["a", 40.0, 5e-4],
    ]  # fmt: skip
    link = {"ticked": "c,gone,a", "order": "Final accuracy", "columns": "Final", "differs": "true"}
    again = app(PAGE, **link)
    assert again.session_state["chosen_runs"] == ["c", "a"]
    shown = list(again.dataframe[0].value)
    assert "Weight decay" in shown and "Architecture" not in shown, "among those ticked"
    assert again.query_params["ticked"] in ("c,a", ["c,a"])
    assert list(again.dataframe[0].value["Run"]) == ["b", "c", "a"]
    assert app(PAGE, ticked="a", run="b").selectbox(key="run").value == "b"
    again.text_input(key="filter").set_value("vgg").run()
    assert "Weight decay" in list(again.dataframe[0].value), "also of those that the filter hides"
    odd = app(PAGE, order="<script>", columns="nothing", ticked="../..,%00", differs="maybe")
    assert not odd.exception
    assert list(odd.dataframe[0].value) == usual


def test_ticked_runs_are_deleted_together_and_put_back(app, finished):
    for name in "abc":
        finished(name)
    at = app(PAGE, ticked="a,c")
    at.button(key="delete_many").click().run()
    assert not at.exception
    assert [run.name for run in runs.list_runs(folders.RUN_ROOT)] == ["b"]
    at.button(key="undo_last").click().run()
    assert {run.name for run in runs.list_runs(folders.RUN_ROOT)} == {"a", "b", "c"}


def test_a_queued_run_that_is_put_back_is_queued_again(app, finished, tiny, monkeypatch):
    finished("done")
    runs.create(folders.RUN_ROOT, "waits", tiny())
    at = app(PAGE, ticked="done,waits")
    at.button(key="delete_many").click().run()
    assert not runs.list_runs(folders.RUN_ROOT) and not at.exception
    monkeypatch.setattr(process.worker(), "_enqueue", lambda *a: True)  # or it would be trained
    at.button(key="undo_last").click().run()
    states = {run.name: run.status().state for run in runs.list_runs(folders.RUN_ROOT)}
    assert states == {"done": State.FINISHED, "waits": State.QUEUED}


def test_a_deep_link_opens_a_run_cold(app, finished):
    finished("deep")
    at = app(PAGE, run="deep")
    assert not at.exception
    assert "deep" in [s.value for s in at.subheader]
    assert len(at.get("vega_lite_chart")) >= 2


def test_a_deep_link_to_nothing_is_no_error(app, finished):
    finished("here")
    at = app(PAGE, run="not-here")
    assert not at.exception
    assert at.selectbox(key="run").value is None


def test_a_run_is_renamed_and_a_taken_name_refused(app, finished):
    finished("old")
    finished("taken")
    at = app(PAGE, run="old")
    at.text_input(key="new_name_old").set_value("taken").run()
    at.button(key="rename").click().run()
    assert "exists" in at.error[0].value
    at.text_input(key="new_name_old").set_value(" ").run()
    at.button(key="rename").click().run()
    assert at.error[0].value == "Enter a name for the run"
    at.text_input(key="new_name_old").set_value("new").run()
    at.button(key="rename").click().run()
    assert not at.exception
    assert {run.name for run in runs.list_runs(folders.RUN_ROOT)} == {"new", "taken"}
    assert at.toast[0].value == "old is now called new."


def test_a_deleted_run_is_restored_at_once_or_later(app, finished):
    finished("gone", acc=(0.2, 0.4))
    at = app(PAGE, run="gone")
    assert "can be restored for 24 h" in "\n".join(text.value for text in at.markdown)
    at.button(key="delete").click().run()
    assert not (folders.RUN_ROOT / "gone").exists() and not at.exception
    assert any("gone was deleted" in toast.value for toast in at.toast)
    at.button(key="undo_last").click().run()
    assert Run(folders.RUN_ROOT / "gone").status().final_acc == 0.4
    at.selectbox(key="run").set_value("gone").run()
    at.button(key="delete").click().run()
    later = app(PAGE)  # another session
    (entry,) = trash.discarded(folders.RUN_ROOT)
    later.multiselect(key="bin_chosen").set_value([entry.path.name]).run()
    later.button(key="bin_restore").click().run()
    assert (folders.RUN_ROOT / "gone").exists() and not later.exception


def test_a_note_is_kept(app, finished):
    run = finished("noted")
    at = app(PAGE, run="noted")
    at.text_area(key="note_noted").set_value("more width helps").run()
    assert run.note() == "more width helps"
    again = app(PAGE, columns="Note")
    assert "more width helps" in list(again.dataframe[0].value["Note"])


def test_a_title_is_shown_beside_the_name_wherever_a_run_is_named(app, finished):
    run = finished("titled")
    finished("other", **{"model.arch": "vgg13"})
    at = app(PAGE, run="titled")
    assert "Title" not in at.dataframe[0].value, "while no run has one"
    at.text_input(key="title_titled").set_value("*My* best").run()
    assert run.title() == "*My* best" and run.name == "titled"
    assert r"\*My\* best" in [heading.value for heading in at.subheader]
    assert "titled" in [caption.value for caption in at.caption]
    assert list(at.dataframe[0].value["Title"]) == ["", "*My* best"]
    home = app()
    assert r"\*My\* best" in [link.proto.label for link in home.get("page_link")]
    again = app(PAGE, ticked="titled,other")
    curves = [row["Curve"] for _, row in again.table[0].value.iterrows()]
    assert len(curves) == 2 and any(curve.startswith(r"\*My\* best · ") for curve in curves)
    at.text_input(key="title_titled").set_value(" ").run()
    assert run.title() == "" and not (run.path / "title.txt").exists()


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        ({"a": "First"}, {"a": "First · relu", "b": "mish"}),
        ({"a": "x" * 80, "b": "B"}, {"a": "relu", "b": "B · mish"}),
    ],
)
def test_a_legend_has_titles_where_there_is_room(tiny, titles, expected):
    configs = {
        name: tiny(**{"model.activation": of}) for name, of in (("a", "relu"), ("b", "mish"))
    }
    labels = group_labels([["a"], ["b"]], configs, dict.fromkeys("ab"), titles)
    assert labels == {expected[name]: [name] for name in "ab"}


def test_a_legend_has_no_label_twice(tiny):
    configs, titles = {"a": tiny(), "b": tiny()}, {"a": "same", "b": "same"}
    assert group_labels([["a"], ["b"]], configs, {}, titles) == {"a": ["a"], "b": ["b"]}


def test_clone_carries_the_choices_to_train(app, finished):
    finished("source", **{"model.arch": "vgg13", "optim.lr": 0.07})
    at = app(PAGE, run="source")
    at.button(key="clone").click().run()
    assert not at.exception
    assert at.selectbox(key="arch").value == "vgg13"
    assert at.number_input(key="lr").value == 0.07


def test_a_damaged_run_does_not_hide_the_others(app, finished):
    finished("good")
    bad = finished("bad")
    (bad.path / "status.json").write_text("{torn")
    at = app(PAGE)
    assert not at.exception
    states = at.dataframe[0].value.set_index("Run")["State"]
    assert states.to_dict() == {"good": "finished", "bad": "damaged"}


def test_a_link_to_a_damaged_run_says_what_can_be_done(app, finished):
    run = finished("bad")
    (run.path / "status.json").write_text("{torn")
    at = app(PAGE, run="bad")
    assert not at.exception
    assert "resume the run" in warnings(at) and "or delete it" in warnings(at)
    assert "Resume" in [button.label for button in at.button]
    at.button(key="delete").click().run()
    assert not at.exception and not run.path.exists()


def test_row_31_a_live_run_is_not_deleted(app, finished):
    run = finished("live")
    with run.hold("another process") as writer:
        writer.update(state=State.RUNNING)
        at = app(PAGE, run="live")
        assert not [b for b in at.button if b.key == "delete"]
        try:
            runs.delete(Run(run.path))
        except RunError as error:
            assert "in use by another process" in str(error)
        else:
            raise AssertionError("a live run was deleted")
    assert run.path.exists()


def test_a_selection_stays_with_its_runs_when_their_order_changes(app, finished, monkeypatch):
    """The row numbers that Streamlit keeps would be other runs' then."""
    defaults = []
    draw = st.dataframe
    monkeypatch.setattr(
        st,
        "dataframe",
        lambda *a, **k: (defaults.append(k.get("selection_default")), draw(*a, **k))[1],
    )
    finished("first")
    finished("second")
    at = app(PAGE)
    at.session_state["chosen_runs"] = ["first"]
    finished("third")
    defaults.clear()
    at.run()
    assert not at.exception
    names = list(at.dataframe[0].value["Run"])
    assert defaults[0] == {"selection": {"rows": [names.index("first")]}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.holdout": 500}, "measured on different images"),
        ({"optim.lr": 0.01}, "differ in one setting: Learning rate"),
    ],
)
def test_a_comparison_says_what_differs(app, finished, changes, told):
    finished("a")
    finished("b", **changes)
    at = app(PAGE)
    at.session_state["chosen_runs"] = ["a", "b"]
    finished("c")  # other rows, which are selected anew by their names
    at.run()
    shown = [*(w.value for w in at.warning), *(c.value for c in at.caption)]
    assert any(told in text for text in shown)


def test_accuracy_with_test_time_augmentation_is_shown_apart(app, finished):
    run = finished("six-views")
    with run.hold("a test") as writer:
        writer.update(tta_acc=0.4321)
    shown = [caption.value for caption in app(PAGE, run="six-views").caption]
    assert "With test-time augmentation, after the last epoch: 43.21 %" in shown


def test_a_run_with_an_unreadable_config_opens(app, finished):
    run = finished("odd")
    (run.path / "last.safetensors").write_bytes(b"weights")
    (run.path / "config.json").write_text('{"unknown": 1}')
    at = app(PAGE, run="odd")
    assert not at.exception
    assert "odd" in [s.value for s in at.subheader]


def test_runs_that_have_not_ended_are_told_from_those_that_have(app, finished):
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        finished(name, acc=[0.2, 0.4 + seed / 10], seed=seed)
    unfinished = finished("c2", **{"optim.lr": 0.01})
    for run in (unfinished, Run(folders.RUN_ROOT / "c")):
        with run.hold("a test") as writer:
            writer.update(state=State.STOPPED, epoch=3, epochs=9)
    at = app(PAGE)
    at.session_state["chosen_runs"] = ["a", "b", "c", "c2"]
    finished("d")
    at.run()
    assert not at.exception
    rows = at.table[0].value.set_index("n")
    assert rows["Final"][2] == "45.00 ± 7.07 %"
    assert rows["After"][2] == "excluding 1 not finished"
    assert rows["After"][1] == "epoch 2 of 9, not finished"


def test_a_selection_outlives_the_filter_and_is_told(app, finished):
    finished("plain")
    finished("vgg", **{"model.arch": "vgg11"})
    at = app(PAGE)
    at.session_state["chosen_runs"] = ["plain", "vgg"]
    at.text_input(key="filter").set_value("vgg11").run()
    assert any("hidden by the filter: plain" in c.value for c in at.caption)
    assert set(at.session_state["chosen_runs"]) == {"plain", "vgg"}
    at.button(key="deselect").click().run()
    assert at.session_state["chosen_runs"] == ["vgg"]


def test_a_run_is_exported_and_downloaded(app, finished):
    run = finished("a")
    config = run.config()
    model = build_model(**config.model.arguments)
    CheckpointStore(run.path, describe_model(config.model)).save(1, model.state_dict(), {})
    at = app(PAGE, run="a")
    at.selectbox(key="export_format").set_value("safetensors")
    at.button(key="export").click().run()
    assert not at.exception and not at.error
    folder = run.path / "export" / "safetensors"
    with zipfile.ZipFile(io.BytesIO(zipped(folder))) as archive:
        assert archive.namelist() == ["model.safetensors", "use.py"]
    offered = lambda: "Download as zip" in [b.label for b in at.get("download_button")]  # noqa: E731
    assert offered()
    (run.path / "last.safetensors").touch()  # trained on
    at.run()
    assert not offered() and any("export again" in info.value for info in at.info)
    at.button(key="export").click().run()
    assert offered()


def test_an_export_that_fails_says_why(app, finished):
    run = finished("a")
    (run.path / "last.safetensors").write_bytes(b"damaged")
    at = app(PAGE, run="a")
    at.button(key="export").click().run()
    assert not at.exception
    assert "last.safetensors" in at.error[0].value.replace("\\", "")


def test_a_run_without_weights_offers_no_export(app, finished):
    finished("a")
    at = app(PAGE, run="a")
    assert "export" not in [button.key for button in at.button]


def test_one_training_each_is_not_called_a_difference(app, finished):
    for name, seed, lr in (("a", 0, 0.1), ("b", 0, 0.01)):
        finished(name, seed=seed, **{"optim.lr": lr})
    at = app(PAGE)
    at.session_state["chosen_runs"] = ["a", "b"]
    finished("c", seed=1)  # the table is made anew, with the chosen rows ticked
    at.run()
    assert any("One run each" in caption.value for caption in at.caption)
    at.session_state["chosen_runs"] = ["a", "b", "c"]
    finished("d")
    at.run()
    assert not any("One run each" in caption.value for caption in at.caption)


def test_curves_are_drawn_as_asked_and_downloaded(app, finished):
    for name, activation in (("a", "relu"), ("b", "mish")):
        finished(name, **{"model.activation": activation})
    at = app(PAGE, run="a")
    assert at.selectbox(key="curves_by").value == "step", "a short run"
    at.session_state["chosen_runs"] = ["a", "b"]
    finished("c")  # the table is made anew, with the chosen rows ticked
    at.run()
    at.selectbox(key="run").set_value("a").run()
    for key in ("curves_by", "compare_by"):
        for by in axes.X_AXES:
            at.selectbox(key=key).set_value(by).run()
            assert not at.exception
    assert [row["Curve"] for _, row in at.table[0].value.iterrows()] == ["mish", "relu"]
    titles = [chart.proto.spec for chart in at.get("vega_lite_chart")]
    assert sum(axes.X_AXES["macs"][1] in spec for spec in titles) >= 5
    run, chosen = (
        Run(folders.RUN_ROOT / "a"),
        curves.Options("macs", 0, False, "test images", axes.Costs(16, macs=9)),
    )
    for measure in curves.TITLES:
        png = rendered(rendering.png, lambda m=measure: curves.chart(run, m, chosen), "Title", "a")
        assert png.startswith(b"\x89PNG")
    rows = csv(lambda: curves.recorded(run, "accuracy", chosen)).decode("utf-8-sig")
    assert rows.splitlines()[0] == '"x","value","series","best"'


def test_a_download_has_every_recorded_value_as_measured(finished, tiny):
    run = finished("long")
    with run.hold("a test") as writer:
        writer.append([step_row(step) | {"acc": (step % 7) / 10} for step in range(3, 2_003)])
    chosen = curves.Options("step", 0.9, False, "test images", axes.Costs(16))
    rows = curves.recorded(run, "accuracy", chosen)
    train = rows[rows["series"] == single.TRAIN]
    assert len(train) == 2_002 and train["value"].iloc[-1] == (2_002 % 7) / 10
    assert len(curves.recorded(run, "lr", chosen)) == 2_002
    assert len(curves.chart(run, "accuracy", chosen)[1]) < 1_000
    group = several.Group("long", 0, [[epoch_row(epoch, 0.5) for epoch in range(1, 2_502)]])
    assert len(several.overlay_rows([group], "accuracy", ("test images",), dots=math.inf)) == 2_501


def test_the_usual_axis_follows_the_length_of_a_run_until_one_is_chosen(app, finished):
    finished("short")
    long = finished("long")
    with long.hold("a test") as writer:
        writer.update(epochs=60)
    at = app(PAGE, run="long")
    assert at.selectbox(key="curves_by").value == "epoch"
    at.selectbox(key="run").set_value("short").run()
    assert at.selectbox(key="curves_by").value == "step"
    at.selectbox(key="curves_by").set_value("images").run()
    at.selectbox(key="run").set_value("long").run()
    assert at.selectbox(key="curves_by").value == "images"
