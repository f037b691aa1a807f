"""Charts: specs that stay the same to the byte, and rows that tell the truth."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import schedules
from engine.config import OptimConfig, ScheduleConfig
from pages.ui import charts

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("a", "b and seeds (n = 3)", "<script>")
ALL_SPECS = """
from pages.ui import charts
specs = [charts.curve_spec(m, by, log) for m in ("accuracy", "loss") for by in ("epoch", "step")
         for log in (False, True)]
specs += [charts.line_spec("lr"), charts.line_spec("lr", "step")]
both = {"a": [[{"epoch": 1, "val_acc": 0.5}]] * 2}  # a band, and a lone epoch
rows = charts.overlay_rows(both, "accuracy", ("validation",))
specs += [charts.overlay_spec(rows, m, NAMES, log) for m in ("accuracy", "loss") for log in (0, 1)]
"""


def all_specs() -> str:
    """Every kind of spec, built anew, as the browser would be sent it."""
    for build in (charts.curve_spec, charts.line_spec, charts.build_overlay):
        build.cache_clear()
    names = {"NAMES": NAMES}
    exec(ALL_SPECS, names)
    return json.dumps(names["specs"])


def every(value, found=None):
    """Every dict inside a spec."""
    found = [] if found is None else found
    if isinstance(value, dict):
        found.append(value)
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, (dict, list)):
            every(each, found)
    return found


def test_specs_are_the_same_to_the_byte_from_one_build_to_the_next():
    assert all_specs() == all_specs()


def test_specs_are_the_same_in_another_process_with_another_hash_seed():
    code = f"import json\nNAMES = {NAMES!r}\n{ALL_SPECS}\nprint(json.dumps(specs))"
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    child = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment,
        check=True,
    )
    assert child.stdout.splitlines()[-1] == all_specs()


def test_specs_hold_no_rows_no_counted_names_and_a_fixed_order_of_colours():
    for spec in json.loads(all_specs()):
        for part in every(spec):
            assert not {"data", "datasets", "name", "params", "$schema"} & set(part)
        for part in every(spec):
            if "color" in part:
                assert part["color"]["scale"]["domain"] in (charts.SPLITS, list(NAMES))


def test_one_run_has_the_same_spec_whatever_its_rows():
    assert charts.curve_spec("loss", "step") is charts.curve_spec("loss", "step")


def epoch(number: int, val: float = 0.5, train: float = 0.4, steps: int = 10) -> dict:
    return {
        "kind": "epoch", "epoch": number, "step": number * steps, "train_loss": train + 1,
        "train_acc": train, "val_loss": val + 1, "val_acc": val, "lr": 0.1, "seconds": 1.0,
    }  # fmt: skip


def step(number: int, acc: float = 0.1) -> dict:
    return {
        "kind": "step", "step": number, "epoch": 1, "loss": acc + 2, "acc": acc, "lr": 0.1,
        "images_per_s": 9.0,
    }  # fmt: skip


# ---------------------------------------------------------------------------- one run


def test_by_epoch_both_curves_come_from_the_epochs():
    rows = charts.run_rows([step(1), epoch(1, 0.5, 0.4), epoch(2, 0.6, 0.7)], "accuracy", "epoch")
    assert list(rows.columns) == ["x", "value", "series"]
    assert rows.values.tolist() == [
        [1, 0.4, "train"],
        [2, 0.7, "train"],
        [1, 0.5, "validation"],
        [2, 0.6, "validation"],
    ]


def test_by_step_the_train_curve_comes_from_the_steps_and_validation_lies_at_its_step():
    rows = charts.run_rows([step(1, 0.1), step(2, 0.3), epoch(1, 0.5)], "loss", "step")
    assert rows.values.tolist() == [
        [1, 2.1, "train"],
        [2, 2.3, "train"],
        [10, 1.5, "validation"],
    ]


def test_without_records_there_are_no_rows():
    for by in ("epoch", "step"):
        assert charts.run_rows([], "loss", by).empty


def test_a_field_by_step_or_by_epoch():
    records = [step(1), step(2), epoch(1)]
    assert charts.value_rows(records, "step", "lr").values.tolist() == [[1, 0.1], [2, 0.1]]
    assert charts.value_rows(records, "epoch", "seconds").values.tolist() == [[1, 1.0]]


def test_the_previewed_learning_rate_is_the_one_that_training_uses():
    schedule, optim = ScheduleConfig("multi_step", (3, 6), gamma=0.5), OptimConfig(lr=0.2)
    rows = charts.curve_rows(schedule, optim, 8)
    assert rows.values.tolist() == [list(p) for p in schedules.curve(schedule, optim, 8)]
    assert set(np.round(rows["value"], 12)) == {0.2, 0.1, 0.05}
    assert rows["x"].is_monotonic_increasing


# ---------------------------------------------------------------------------- thin


series = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3_000)


@given(series)
def test_thinned_rows_are_few_in_order_and_keep_every_extreme(values):
    points = list(enumerate(values))
    kept = charts.thin(points)
    assert len(kept) <= charts.MAX_POINTS == 600
    assert set(kept) <= set(points)
    assert [x for x, _ in kept] == sorted({x for x, _ in kept})
    assert min(v for _, v in kept) == min(values)
    assert max(v for _, v in kept) == max(values)
    if len(points) <= 600:
        assert kept == points


@pytest.mark.parametrize("spike", [0, 1, 2_500, 4_998, 4_999])
@pytest.mark.parametrize("height", [-9.0, 9.0])
def test_no_spike_is_lost_wherever_it_is(spike, height):
    points = [(x, height if x == spike else 0.0) for x in range(5_000)]
    assert (spike, height) in charts.thin(points)


def test_a_long_run_is_thinned_series_by_series():
    records = [step(i, math.sin(i)) for i in range(1, 5_001)] + [epoch(i) for i in range(1, 900)]
    rows = charts.run_rows(records, "accuracy", "step")
    assert rows.groupby("series").size().max() <= 600
    assert set(rows["series"]) == {"train", "validation"}
    assert len(charts.value_rows(records, "step", "acc")) <= 600


# ---------------------------------------------------------------------------- smooth


def test_without_smoothing_the_points_are_as_measured():
    points = [(1, 0.3), (2, 0.9)]
    assert charts.smooth(points, 0.0) == points


@given(st.floats(0.01, 0.99), st.floats(-1e3, 1e3), st.integers(1, 60))
def test_a_constant_stays_itself_from_its_first_point_on(amount, value, count):
    smoothed = charts.smooth([(x, value) for x in range(count)], amount)
    np.testing.assert_allclose([v for _, v in smoothed], value, rtol=1e-9, atol=1e-9)


@given(st.floats(0.01, 0.98), st.lists(st.floats(-10, 10), min_size=1, max_size=40))
def test_every_point_is_the_weighted_mean_of_all_up_to_it(amount, values):
    smoothed = charts.smooth(list(enumerate(values)), amount)
    assert smoothed[0] == (0, pytest.approx(values[0]))
    for x, value in smoothed:
        weights = amount ** np.arange(x, -1, -1)
        assert value == pytest.approx(np.average(values[: x + 1], weights=weights), abs=1e-9)


def test_the_chart_smooths_the_train_curve_and_shows_validation_as_measured():
    records = [epoch(1, 0.75, 0.0), epoch(2, 0.25, 1.0)]
    rows = charts.run_rows(records, "accuracy", "epoch", smoothing=0.5)
    values = {name: list(part["value"]) for name, part in rows.groupby("series")}
    assert values == {"train": pytest.approx([0.0, 2 / 3]), "validation": [0.75, 0.25]}


# ---------------------------------------------------------------------------- overlays


def curve(*values: float) -> list[dict]:
    return [epoch(i, v, v / 2) for i, v in enumerate(values, start=1)]


@given(st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=2, max_size=6))
def test_a_group_is_its_mean_with_one_standard_deviation_either_side(table):
    groups = {"g": [curve(*row) for row in table]}
    rows = charts.overlay_rows(groups, "accuracy", ("validation",))
    mean, spread = np.mean(table, axis=0), np.std(table, axis=0, ddof=1)
    np.testing.assert_allclose(rows["value"], mean, atol=1e-12)
    np.testing.assert_allclose(rows["low"], mean - spread, atol=1e-12)
    np.testing.assert_allclose(rows["high"], mean + spread, atol=1e-12)
    assert rows["x"].tolist() == [1, 2, 3, 4, 5]


def test_the_spread_is_a_sample_s_and_not_a_population_s():
    rows = charts.overlay_rows({"g": [curve(0.4), curve(0.6)]}, "accuracy", ("validation",))
    assert rows["high"][0] - rows["value"][0] == pytest.approx(statistics.stdev([0.4, 0.6]))


def test_a_single_run_has_its_values_and_no_band():
    groups = {"one": [curve(0.1, 0.2)], "two": [curve(0.3), curve(0.5)]}
    rows = charts.overlay_rows(groups, "accuracy", ("validation",)).set_index("series")
    one, two = rows.loc[["one"]], rows.loc[["two"]]
    assert one["value"].tolist() == [0.1, 0.2]
    assert one[["low", "high"]].isna().all(axis=None), "empty, not a band of no height"
    assert not two.isna().any(axis=None), "its own band is whole"
    assert not rows["value"].isna().any()


def test_the_band_s_axis_is_not_drawn_down_to_0_by_runs_without_one():
    groups = {"one": [curve(0.1, 0.2)], "two": [curve(0.3), curve(0.5)]}
    rows = charts.overlay_rows(groups, "accuracy", ("validation",))
    spec = charts.overlay_spec(rows, "accuracy", ("one", "two"))
    lines = [layer["encoding"]["y"] for layer in spec["layer"] if "y2" not in layer["encoding"]]
    assert lines and all(y["scale"]["zero"] is False for y in lines)


def marks(groups: dict) -> list[str]:
    rows = charts.overlay_rows(groups, "accuracy", ("validation",))
    spec = charts.overlay_spec(rows, "accuracy", tuple(groups))
    fields = {each["field"] for each in every(spec) if "field" in each}
    assert fields <= set(rows), "what is drawn is there"
    return [layer["mark"]["type"] for layer in spec["layer"]]


def test_bands_and_points_are_drawn_only_where_they_are_few_or_needed():
    long, short, many = curve(0.1, 0.2), curve(0.3), [curve(*[0.1] * 300) for _ in range(7)]
    assert marks({"a": [long], "b": [long]}) == ["point", "line"]
    assert marks({"a": [long, long], "b": [long]}) == ["area", "point", "line"]
    names = "abcdefg"
    assert marks({name: [run] for name, run in zip(names, many, strict=True)}) == ["line"]
    with_a_lone_one = {name: [run] for name, run in zip(names, many, strict=True)} | {"h": [short]}
    assert marks(with_a_lone_one) == ["point", "line"]


@pytest.mark.parametrize("length", [1, 9, 40, 80])
def test_the_names_of_many_runs_are_all_seen_and_no_two_colours_are_alike(length):
    names = [f"{i:02}".rjust(length, "r")[-max(length, 2) :] for i in range(20)]
    rows = charts.overlay_rows({n: [curve(0.1, 0.2)] for n in names}, "loss", ("validation",))
    spec = charts.overlay_spec(rows, "loss", tuple(names))
    color = spec["layer"][-1]["encoding"]["color"]
    assert color["scale"] == {"domain": names, "scheme": "tableau20"}
    # of 7 pixels a letter, up to the limit of a label, and 30 for its symbol
    width = min(7 * len(names[0]), color["legend"]["labelLimit"]) + 30
    assert color["legend"]["columns"] * width <= 860
    few = charts.overlay_spec(rows, "loss", tuple(names[:8]))
    assert "scheme" not in few["layer"][-1]["encoding"]["color"]["scale"], "the theme's colours"


def test_a_group_is_drawn_as_far_as_all_its_runs_have_come():
    groups = {"g": [curve(0.1, 0.2, 0.3), curve(0.3, 0.4)]}
    rows = charts.overlay_rows(groups, "accuracy", ("validation",))
    assert rows["x"].tolist() == [1, 2]
    assert rows["value"].tolist() == pytest.approx([0.2, 0.3])


def test_a_run_that_has_only_begun_does_not_hide_the_others_of_its_group():
    rows = charts.overlay_rows({"g": [curve(0.1, 0.2), []]}, "accuracy", ("validation",))
    assert rows["value"].tolist() == [0.1, 0.2]
    assert charts.overlay_rows({"g": [[], []]}, "accuracy", ("validation",)).empty
    assert charts.overlay_rows({}, "loss", ("validation", "train")).empty


def test_both_kinds_of_images_are_told_apart():
    rows = charts.overlay_rows({"a": [curve(0.4)]}, "loss", ("validation", "train"))
    assert rows[["split", "value"]].values.tolist() == [["validation", 1.4], ["train", 1.2]]
