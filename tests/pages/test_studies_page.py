"""Studies: choosing a question, planning it, watching it, handing it in."""

from __future__ import annotations

import dataclasses
import time
from urllib.parse import unquote

import pytest

from engine import data, runs
from engine.config import RunConfig, with_fields
from engine.runs.run import State
from engine.studies import bundle, published, rates, report, run
from engine.studies import study as studies
from engine.studies.results import Outcome
from engine.studies.study import CROSS, Factor, Published, Study, Value
from pages.ui import axes, choices, folders, process, rendering
from pages.ui.studies import charts, driving, opened, share

PAGE = "pages/3_Studies.py"
BASE = {
    "data.dataset": "shapes", "model.arch": "resnet10", "model.width": 0.05, "epochs": 1,
    "data.limit": 40, "data.holdout": 40, "batch_size": 20, "precision": "fp32",
}  # fmt: skip
ENDS = {("batch", 0): 0.9, ("batch", 1): 0.901, ("group", 0): 0.5, ("group", 1): 0.502}


@pytest.fixture
def small() -> Study:
    """Two norms, two seeds, on a few built-in images."""
    values = tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group"))
    base = BASE | {"data.root": str(folders.DATA_ROOT)}
    return Study("norms", "Does the norm matter?", (Factor("Norm", values),), base,
                 baseline="batch", seeds=(0, 1))  # fmt: skip


@pytest.fixture
def known_speed(monkeypatch):
    """A speed at which an epoch of 40,000 images takes a minute."""
    monkeypatch.setattr(
        process, "epoch_seconds", lambda c: (c.data.limit or 40_000) * c.model.width / 667
    )


def buttons(at) -> list[str]:
    return [button.key for button in at.button]


def text(at) -> str:
    return "\n".join(each.value for each in (*at.markdown, *at.caption, *at.error, *at.info))


def linked(at) -> str:
    """The plan in the link that the page offers."""
    (link,) = (each.value for each in at.code if "?plan=" in each.value)
    return unquote(link.partition("?plan=")[2])


def record(study: Study, name: str, accuracies: list[float], state=State.FINISHED) -> None:
    """A run of a study that ended with these validation accuracies."""
    row, seed = next((row, seed) for each, row, seed in study.runs() if each == name)
    member = runs.create(folders.RUN_ROOT, name, study.config(row, seed), study=study.name)
    with member.hold("a test") as writer:
        info = {"name": "shapes", "classes": list("abcdefghij"), "mean": [0.5] * 3, "std": [1] * 3}
        writer.save_config(study.config(row, seed), info)
        for epoch, accuracy in enumerate(accuracies, 1):
            writer.append([{
                "kind": "epoch", "epoch": epoch, "step": epoch, "train_loss": 1.0,
                "train_acc": accuracy, "val_loss": 1.0, "val_acc": accuracy, "lr": 0.1,
                "seconds": 2.0,
            }])  # fmt: skip
        writer.update(
            state=state, final_acc=accuracies[-1], step=1, steps=1, seconds=2.0,
            compute={"device_name": "test CPU", "precision": "fp32", "torch": "2"},
        )  # fmt: skip


@pytest.fixture
def measured(runs_root, small):
    """The small study with all runs finished, batch well ahead of group."""
    studies.save(small, folders.STUDY_ROOT)
    for name, row, seed in small.runs():
        record(small, name, [0.3, ENDS[row.name, seed]])
    return small


def test_the_page_offers_the_four_published_questions(app):
    at = app(PAGE)
    assert not at.exception
    assert {f"ask_{name}" for name in published.STUDIES} <= set(buttons(at))


def test_a_question_becomes_a_plan_that_fits_the_time(app, known_speed):
    at = app(PAGE)
    at.button(key="ask_activations-and-norms").click().run()
    assert not at.exception
    assert "start_study" in buttons(at)
    assert "Reduced to fit the time" in text(at)
    assert len(at.dataframe[0].value) == 7
    at.segmented_control(key="draft_time").set_value("In full").run()
    assert "Reduced to fit the time" not in text(at)


def test_a_plan_can_be_changed_by_hand(app, known_speed):
    at = app(PAGE)
    at.button(key="ask_architectures").click().run()
    at.number_input(key="draft_epochs").set_value(3).run()
    assert "Changed by hand" in text(at)
    assert set(at.dataframe[0].value["Epochs"]) == {3}


def test_a_linked_plan_keeps_its_time_and_cuts(app, known_speed, small):
    """Others must get the same study, or their seeds could not be pooled."""
    base = {**small.base, "epochs": 10**6, "data.dataset": "shapes"}
    at = app(PAGE, plan=opened.encode(dataclasses.replace(small, base=base)))
    at.segmented_control(key="draft_time").set_value("30 minutes").run()
    assert "Reduced to fit" in text(at)
    shared = linked(at)
    other = app(PAGE, plan=shared)
    assert not other.exception
    assert other.segmented_control(key="draft_time").value == "As planned"
    assert other.dataframe[0].value.equals(at.dataframe[0].value)
    assert "Reduced to fit" not in text(other)
    other.number_input(key="draft_first_seed").set_value(10).run()
    other.button(key="start_study").click().run()
    kept, planned = studies.load(folders.STUDY_ROOT, "norms"), opened.decode(shared)
    assert kept.seconds == planned.seconds == 1800 and kept.seeds == (10, 11)
    places = {"data.root": str(folders.DATA_ROOT)}
    assert kept.base == planned.base | places and kept.factors == planned.factors
    assert opened.decode(linked(app(PAGE, study="norms"))).base == planned.base


def test_equal_time_is_planned_even_where_the_study_fits(app, known_speed):
    at = app(PAGE)
    at.button(key="ask_architectures").click().run()
    at.segmented_control(key="draft_time").set_value("In full").run()
    at.segmented_control(key="draft_equal").set_value("time").run()
    assert not at.exception and not at.error


def test_pupils_take_seeds_of_their_own(app, known_speed):
    at = app(PAGE)
    at.button(key="ask_architectures").click().run()
    at.number_input(key="draft_seeds").set_value(2)
    at.number_input(key="draft_first_seed").set_value(10).run()
    at.button(key="start_study").click().run()
    assert studies.load(folders.STUDY_ROOT, "architectures").seeds == (10, 11)


def test_a_name_that_someone_else_took_meanwhile_becomes_another(app, known_speed, small):
    at = app(PAGE, plan=opened.encode(small))
    theirs = dataclasses.replace(small, seeds=(5,))
    studies.save(theirs, folders.STUDY_ROOT)
    at.button(key="start_study").click().run()
    assert "already exists" in at.error[0].value
    assert at.text_input(key="draft_name").value == "norms-2"
    at.button(key="start_study").click().run()
    assert set(studies.list_studies(folders.STUDY_ROOT)) == {"norms", "norms-2"}
    assert studies.load(folders.STUDY_ROOT, "norms") == theirs


def test_the_buttons_act_on_the_stored_study(app, measured):
    """The page still shows the study as it was before the search for its rates, or a new seed."""
    at = app(PAGE, study="norms")
    more = dataclasses.replace(measured, added_seeds=(7,))
    studies.save(more, folders.STUDY_ROOT)
    for name, row, seed in more.runs()[-2:]:
        runs.create(folders.RUN_ROOT, name, more.config(row, seed), study="norms")
    at.button(key="add_seeds_now").click().run()
    assert studies.load(folders.STUDY_ROOT, "norms").added_seeds == (7, 8)
    driving.ask("norms", "stop")
    states = {name: runs.find_run(folders.RUN_ROOT, name).status().state for name, _, seed
              in more.runs() if seed == 7}  # fmt: skip
    assert set(states.values()) == {State.STOPPED}


def test_a_list_of_studies_reads_no_images(app, small, runs_root, tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    base = {**small.base, "data.dataset": str(tmp_path / "pictures"), "data.holdout": 0}
    studies.save(dataclasses.replace(small, base=base, fair_rates=True), folders.STUDY_ROOT)
    monkeypatch.setattr(data, "load", lambda *args, **options: pytest.fail("read the images"))
    at = app(PAGE)
    assert not at.exception and "open_norms" in buttons(at)
    assert "damaged" not in text(at)
    at.button(key="open_norms").click().run()
    assert not at.exception and "resume_study" in buttons(at)


def test_a_study_runs_to_its_verdict(app, small, runs_root, known_speed):
    at = app(PAGE, plan=opened.encode(small))
    at.selectbox(key="draft_data").set_value("shapes").run()
    at.number_input(key="draft_seeds").set_value(2).run()
    at.button(key="start_study").click().run()
    assert not at.exception
    assert at.query_params["study"] in ("norms", ["norms"])
    kept = studies.load(folders.STUDY_ROOT, "norms")
    deadline = time.monotonic() + 60
    while [o.state for o in driving.outcomes(kept)] != ["finished"] * 4:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    at.run()
    assert not at.exception
    assert at.dataframe[0].value["n"].sum() <= 4 and "finished" in text(at)
    assert len(at.get("vega_lite_chart")) >= 1
    assert all(each.status().study == "norms" for each in runs.list_runs(folders.RUN_ROOT))


def test_fair_rates_are_chosen_and_then_the_study_starts(
    app, runs_root, known_speed, wait_for, monkeypatch
):
    monkeypatch.setattr(rates, "SHARE", 0.01)  # the tests' data set has few images
    base = {**BASE, "model.arch": "vgg11", "data.root": str(folders.DATA_ROOT)}
    base = {path: value for path, value in base.items() if path != "data.holdout"}
    norms = tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group"))
    study = Study("fair", "Which?", (Factor("Norm", norms),), base, "batch", seeds=(0,))
    at = app(PAGE, plan=opened.encode(study))
    at.toggle(key="draft_fair").set_value(True).run()
    assert "8 runs" in text(at)
    at.button(key="start_study").click().run()
    assert not at.exception
    assert "learning rate of each value is chosen" in text(at)

    def ended() -> bool:
        found = studies.load(folders.STUDY_ROOT, "fair")
        return [o.state for o in driving.outcomes(found)] == ["finished"] * 2

    wait_for(ended, "the study after its search")
    at.run()
    assert not at.exception
    assert "Each value has its own learning rate" in text(at)


def test_a_study_whose_server_died_after_the_search_can_be_resumed(app, small, runs_root):
    base = {path: value for path, value in small.base.items() if path != "data.holdout"}
    study = dataclasses.replace(small, base=base, fair_rates=True)
    studies.save(study, folders.STUDY_ROOT)
    searched = run.current(study)
    for name, _, _ in searched.runs():
        record(searched, name, [0.5])
    at = app(PAGE, study="norms")
    assert "interrupted" in text(at) and "resume_study" in buttons(at)
    at.button(key="resume_study").click().run()
    found = studies.load(folders.STUDY_ROOT, "norms")
    assert {row.settings["optim.lr"] for row in found.rows()} == {0.0333}
    assert all(runs.find_run(folders.RUN_ROOT, name) for name, _, _ in found.runs())


def test_a_search_in_which_all_runs_of_a_value_failed_is_told(app, small, runs_root):
    base = {path: value for path, value in small.base.items() if path != "data.holdout"}
    study = dataclasses.replace(small, base=base, fair_rates=True)
    studies.save(study, folders.STUDY_ROOT)
    searched = run.current(study)
    for name, row, _ in searched.runs():
        state = State.FAILED if row.name.startswith("group") else State.FINISHED
        record(searched, name, [0.5], state)
    at = app(PAGE, study="norms")
    assert not at.exception
    assert "group has no finished run in norms-rates" in at.error[0].value


def test_a_finished_study_says_what_is_known(app, measured):
    at = app(PAGE, study="norms")
    assert not at.exception
    assert "batch beats group by 39.9 points" in text(at)
    assert at.dataframe[0].value["Accuracy (%)"].tolist() == ["90.05 ± 0.07", "50.10 ± 0.14"]
    assert "resume_study" not in buttons(at)


def test_a_study_that_was_killed_can_be_resumed(app, small, runs_root):
    studies.save(small, folders.STUDY_ROOT)
    record(small, small.runs()[0][0], [0.5])
    at = app(PAGE, study="norms")
    assert "resume_study" in buttons(at)
    at.button(key="resume_study").click().run()
    assert len(runs.list_runs(folders.RUN_ROOT)) == 4


def test_a_study_left_in_the_queue_by_a_killed_server_can_be_resumed(app, small, runs_root):
    studies.save(small, folders.STUDY_ROOT)
    for name, row, seed in small.runs():
        runs.create(folders.RUN_ROOT, name, small.config(row, seed), study=small.name)
    at = app(PAGE, study="norms")
    assert "resume_study" in buttons(at) and "pause_study" not in buttons(at)
    at.button(key="resume_study").click().run()
    assert "pause_study" in buttons(at)


def test_seeds_and_a_value_can_be_added(app, measured):
    at = app(PAGE, study="norms")
    at.button(key="add_seeds_now").click().run()
    assert studies.load(folders.STUDY_ROOT, "norms").added_seeds == (2,)
    at.selectbox(key="new_value_model.norm").set_value("layer").run()
    at.button(key="add_value_now").click().run()
    names = [row.name for row in studies.load(folders.STUDY_ROOT, "norms").rows()]
    assert names == ["batch", "group", "layer"]


def test_a_run_with_another_setting_is_marked_and_left_out(app, measured):
    name = measured.runs()[0][0]
    member = runs.find_run(folders.RUN_ROOT, name)
    changed = dataclasses.replace(member.config(), batch_size=10)
    with member.hold("a test") as writer:
        writer.save_config(changed, member.dataset_info())
    assert driving.outcomes(measured)[0].confounds == ("batch size 10",)


def test_own_study_from_the_train_form(app, known_speed):
    at = app(PAGE, vary="model.width", choices=choices.encode(with_fields(RunConfig(), BASE)))
    assert not at.exception
    at.button(key="own_study").click().run()
    assert not at.exception
    assert at.dataframe[0].value["Value"].tolist() == ["width 0.05", "width 0.15"]


def test_several_values_of_a_setting_on_the_train_form(app, known_speed):
    at = app(PAGE)
    at.button(key="ask_architectures").click().run()  # a draft that another question replaces
    at.switch_page("pages/1_Train.py").run()
    at.number_input(key="epochs").set_value(7).run()
    offered = at.selectbox(key="vary_setting").options
    assert "Learning rate" in offered and "Norm" in offered
    assert "Seed" not in offered and "Mixup alpha" not in offered  # mixup is off
    at.selectbox(key="vary_setting").set_value("optim.lr").run()
    assert not at.exception
    assert at.selectbox(key="vary_optim.lr").value == "optim.lr"
    assert at.session_state["vary_base"].epochs == 7
    assert "own_study" in buttons(at)


def test_report_csv_and_chart(app, measured):
    app(PAGE, study="norms")
    text = share.report_file(measured).decode()
    assert "# Does the norm matter?" in text and "| batch | 2 | 90.05 ± 0.07 |" in text
    assert "python train.py" in text and "test CPU" in text
    assert share.runs_csv(measured).decode("utf-8-sig").count("train.py") == 4
    svg = share.image(measured, "epochs", rendering.svg).decode()
    assert svg.startswith("<svg") and "batch" in svg
    for told in ("1 epoch, 40 training images; n = 2", "test CPU, fp32", "study.json --seeds 2"):
        assert told in svg
    table = share.table_csv(measured).decode("utf-8-sig").replace('"', "")
    assert table.startswith("Norm,n,Accuracy (%),Difference (points)")
    assert "batch,2,90.05 ± 0.07,baseline" in table


def test_a_zip_adds_the_seeds_of_another_computer(app, measured, tmp_path):
    own = driving.outcomes(measured)
    other = [dataclasses.replace(o, seed=o.seed + 10, block="other CPU") for o in own]
    packed = bundle.pack(measured, other)
    places = folders.STUDY_ROOT, folders.DATA_ROOT
    assert bundle.unpack(packed, *places) == "norms"
    assert bundle.unpack(packed, *places) == "norms"  # twice counts once
    assert len(opened.outcomes(measured)) == 8
    assert bundle.unpack(packed, tmp_path / "elsewhere", tmp_path) == "norms"
    found = studies.load(tmp_path / "elsewhere", "norms")
    assert found.base["data.root"] == str(tmp_path)


def test_a_grid_has_main_effects_and_interaction():
    factors = tuple(
        Factor(name, (Value(f"{name}0", {path: a}), Value(f"{name}1", {path: b})))
        for name, path, a, b in (("A", "model.norm", "batch", "group"), ("B", "epochs", 1, 2))
    )
    study = Study("grid", "Do A and B matter?", factors, BASE)
    means = {("A0", "B0"): 50, ("A0", "B1"): 60, ("A1", "B0"): 70, ("A1", "B1"): 100}
    outcomes = [
        Outcome(CROSS.join(key), seed, (mean + seed) / 100, 0.1, 1000, "finished")
        for key, mean in means.items()
        for seed in (0, 1)
    ]
    verdict = report.verdict_of(study, outcomes)
    found = report.grid_means(study, verdict)
    assert found == pytest.approx({key: mean + 0.5 for key, mean in means.items()})
    assert "5.0 points" in report.effects(study, verdict)[-1]


def test_curves_have_a_band_over_seeds_and_every_cost():
    epochs = [
        [
            {"kind": "epoch", "epoch": e, "step": e, "val_acc": acc * e, "seconds": 2.0}
            for e in (1, 2)
        ]
        for acc in (0.2, 0.4)
    ]
    curves = [charts.Curve("a", each, axes.Costs(100, 100, 1e6)) for each in epochs]
    rows = charts.curve_rows(curves, "macs")
    assert rows["x"].tolist() == [1e8, 2e8]
    assert rows["value"].tolist() == pytest.approx([0.3, 0.6])
    assert (rows["high"] - rows["low"]).iloc[0] == pytest.approx(0.2 * 2**0.5)
    assert charts.curve_rows(curves, "seconds")["x"].tolist() == [2.0, 4.0]


def test_a_seed_that_has_just_begun_does_not_shorten_the_curve():
    def curve(*accuracies: float) -> charts.Curve:
        epochs = [
            {"kind": "epoch", "epoch": e, "step": e, "val_acc": acc, "seconds": 2.0}
            for e, acc in enumerate(accuracies, 1)
        ]
        return charts.Curve("a", epochs, axes.Costs(100, 100, 1e6))

    for both in ([curve(0.2, 0.4, 0.6), curve(0.4)], [curve(0.4), curve(0.2, 0.4, 0.6)]):
        rows = charts.curve_rows(both, "epochs")
        assert rows["x"].tolist() == [1, 2, 3]
        assert rows["value"].tolist() == pytest.approx([0.3, 0.4, 0.6])
        assert rows["low"].isna().tolist() == [False, True, True]
        svg = rendering.svg(
            rendering.standalone(charts.curve_spec("epochs", ("a",), False, "x"), rows, "title")
        )
        assert b"NaN" not in svg


def test_the_legend_fits_on_a_phone_and_leaves_room_for_the_curves():
    short, long = ("a", "b"), tuple(f"batch × width {i:.2f}" for i in range(6))
    specs = [charts.curve_spec("epochs", names, False, "test images") for names in (short, long)]
    columns = [s["layer"][0]["encoding"]["color"]["legend"]["columns"]["expr"] for s in specs]
    assert columns == [f"clamp(floor(width / {pixels}), 1, 6)" for pixels in (34, 136)]
    rows = [1, 3]  # of the legend on a phone
    assert specs[1]["height"] - specs[0]["height"] == (rows[1] - rows[0]) * 30


@pytest.mark.parametrize(("held", "on"), [(0, "test images"), (40, "held-out images")])
def test_charts_say_what_the_accuracy_was_measured_on(held, on):
    values = Value("a", {}), Value("b", {"epochs": 2})
    base = {**BASE, "data.holdout": held}
    images = charts.measured_on(Study("s", "q", (Factor("F", values),), base))
    curves = charts.curve_spec("epochs", ("a", "b"), True, images)["layer"]
    assert {layer["encoding"]["y"]["title"] for layer in curves} == {f"Accuracy on {on}"}
    costs = charts.cost_spec("seconds", ("a", "b"), images)
    assert costs["encoding"]["y"]["title"] == f"Accuracy on {on}"


def test_a_damaged_link_or_zip_is_one_line(app):
    at = app(PAGE, plan="nonsense")
    assert not at.exception
    assert "was left out" in at.warning[0].value
    with pytest.raises(ValueError, match="not the zip of a study"):
        bundle.unpack(b"nonsense", folders.STUDY_ROOT, folders.DATA_ROOT)


def test_published_numbers_stand_beside_measured_ones():
    value = Value("a", {}, Published(1.0, 99.0, 96.0))
    study = Study("s", "q", (Factor("F", (value, Value("b", {"epochs": 2}))),), BASE)
    table = report.table(study, report.verdict_of(study, []))
    assert table["Published (%)"].tolist()[0] == 96.0
