"""Charts: specs that stay the same to the byte, and rows that tell the truth."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import schedules
from engine.config import OptimConfig, ScheduleConfig
from pages.ui import axes, charts, rendering, text
from pages.ui.runs import charts as several

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = (("a", 3), ("b (n = 3)", 0), ("<script>", 19))  # and their colors
ALL_SPECS = """
from pages.ui import axes, charts
from pages.ui.runs import charts as several
specs = [charts.curve_spec(m, by, True, best=True) for m, by in (
    ("accuracy", "step"), ("loss", "epoch"), ("loss", "macs"))]
specs += [charts.line_spec("lr"), charts.line_spec("lr", "seconds")]
specs += [several.build_overlay(m, LABELS, ("test images", charts.TRAIN), "images", False,
                                banded=True, dotted=True, best=True) for m in ("accuracy", "lr")]
specs += [several.cost_spec("macs", LABELS, "test images", True)]
"""


def all_specs() -> str:
    """Every kind of spec, built anew, as the browser would be sent it."""
    for build in (charts.curve_spec, charts.line_spec, several.build_overlay, several.cost_spec):
        build.cache_clear()
    names = {"LABELS": LABELS}
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
    code = f"import json\nLABELS = {LABELS!r}\n{ALL_SPECS}\nprint(json.dumps(specs))"
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
                domain = part["color"]["scale"]["domain"]
                assert domain in (charts.domain([("run", 0)]), charts.domain(list(LABELS)))


def test_files_have_the_colors_of_the_page():
    theme = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text())["theme"]
    assert theme["light"]["chartCategoricalColors"] == list(charts.PALETTE)
    assert len(set(theme["dark"]["chartCategoricalColors"])) == len(charts.PALETTE)


def test_charts_write_percentages_as_the_texts_do():
    formats = [part["format"] for spec in json.loads(all_specs()) for part in every(spec)
               if "%" in str(part.get("format", ""))]  # fmt: skip
    assert formats, "in tooltips"
    for form in {*formats, ".1%"}:
        spec = {"mark": "text", "encoding": {"text": {"field": "v", "format": form}}}
        rows = pd.DataFrame({"v": [0.8225]})
        drawn = rendering.svg(rendering.standalone(spec, rows, "t")).decode()
        assert text.percent(0.8225, int(form[1])) in drawn
    assert all(spec["config"] == axes.CONFIG for spec in json.loads(all_specs()))


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


@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_run_has_its_own_color_alone_as_among_others(by):
    records = [step(1), step(2), epoch(1), epoch(2, 0.6, steps=1)]
    slot = charts.colors(["a run"])["a run"]
    group = several.Group("a run", slot, [[epoch(1), epoch(2)]])
    splits = ("test images", charts.TRAIN)
    drawn = [
        (charts.curve_spec("loss", by, slot=slot), charts.run_rows(records, "loss", by)),
        (charts.line_spec("lr", by, slot=slot), charts.rate_rows(records, by)),
    ]
    rows = several.overlay_rows([group], "loss", splits)
    drawn.append((several.overlay_spec(rows, "loss", [group], splits), rows))
    for spec, rows in drawn:
        image = rendering.svg(rendering.standalone(spec, rows, "t")).decode()
        assert set(re.findall(r'aria-roledescription="line mark"[^>]*stroke="(#\w+)"', image)) == {
            charts.PALETTE[slot]
        }
    dashes = rendering.svg(rendering.standalone(*drawn[0], "t")).decode()
    assert "stroke-dasharray" in dashes and "training images" in dashes and splits[0] in dashes


def test_by_epoch_both_curves_come_from_the_epochs():
    rows = charts.run_rows([step(1), epoch(1, 0.5, 0.4), epoch(2, 0.6, 0.7)], "accuracy", "epoch")
    assert list(rows.columns) == ["x", "value", "series", "best"]
    assert rows.values.tolist() == [
        [1, 0.4, "training images", False],
        [2, 0.7, "training images", False],
        [1, 0.5, "test images", False],
        [2, 0.6, "test images", True],
    ]


def test_by_step_the_train_curve_comes_from_the_steps_and_validation_lies_at_its_step():
    rows = charts.run_rows([step(1, 0.1), step(2, 0.3), epoch(1, 0.5)], "loss", "step")
    assert rows.values.tolist() == [
        [1, 2.1, "training images", False],
        [2, 2.3, "training images", False],
        [10, 1.5, "test images", True],
    ]


def test_the_best_epoch_is_marked_in_a_long_run_also_where_its_loss_is_no_extreme():
    records = [epoch(i, 0.9 if i == 77 else 0.5 + i / 1e4) for i in range(1, 2_001)]
    rows = charts.run_rows(records, "loss", "epoch")
    assert rows[rows["best"]]["x"].tolist() == [77]
    ties = charts.run_rows([epoch(1, 0.5), epoch(2, 0.5)], "accuracy", "epoch")
    assert ties[ties["best"]]["x"].tolist() == [1], "the first, whose weights are kept"


def test_every_axis_has_the_records_in_their_places():
    records = [step(5), epoch(1), step(15), epoch(2), step(24)]
    costs = axes.Costs(128, macs=2e6)
    places = {by: [*map(axes.locator(records, by, costs), records)] for by in axes.X_AXES}
    assert places["epoch"] == [1, 1, 1, 2, 1]
    assert places["step"] == [5, 10, 15, 20, 24]
    assert places["images"] == [5 * 128, 10 * 128, 15 * 128, 20 * 128, 24 * 128]
    assert places["macs"] == [2e6 * images for images in places["images"]]
    # an epoch takes a second; after the last, 4 steps of 128 images at 9 images/s
    assert places["seconds"] == pytest.approx([0.5, 1, 1.5, 2, 2 + 4 * 128 / 9])


def test_the_last_batch_of_an_epoch_is_smaller_and_small_images_cost_less():
    costs = axes.Costs(batch=32, images=80, macs=10.0)
    assert [costs.seen(step) for step in range(7)] == [0, 32, 64, 80, 112, 144, 160]
    assert costs.spent(3) == 800
    assert axes.Costs(2000, images=80).seen(4) == 320
    progressive = dataclasses.replace(costs, progressive_steps=30)
    spent = [progressive.spent(step) for step in (0, 3, 6, 27, 30)]
    assert spent[1] == pytest.approx(800 * (20 / 32) ** 2)
    assert spent[2] == pytest.approx(2 * spent[1])
    assert spent[4] - spent[3] == pytest.approx(800), "full size at the end"


@pytest.mark.parametrize(
    ("measure", "top", "expected"),
    [
        ("loss", 10.0, {"0", "10"}),
        ("lr", 0.1, {"0", "0.1"}),
        ("lr", 7e-7, {"0", "7e-7"}),
    ],
)
def test_numbers_on_axes_are_written_as_people_write_them(measure, top, expected):
    rows = pd.DataFrame({"x": [0, 150], "value": [0, top]})
    drawn = rendering.svg(rendering.standalone(charts.line_spec(measure, "step"), rows, "title"))
    texts = set(re.findall(r">([^<>]+)</text>", drawn.decode()))
    assert expected | {"0", "100", "title"} <= texts
    assert not [text for text in texts if re.search(r"e\+|e-0|\.\dk|\dm$", text)]


def test_without_records_there_are_no_rows():
    for by in ("epoch", "step"):
        assert charts.run_rows([], "loss", by).empty


def test_the_learning_rate_by_images_or_by_epoch():
    records = [step(1), step(2), epoch(1)]
    rows = charts.rate_rows(records, "images", axes.Costs(4))
    assert rows.values.tolist() == [[4, 0.1], [8, 0.1]]
    assert charts.rate_rows(records, "epoch").values.tolist() == [[1, 0.1]]


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
    assert set(rows["series"]) == {"training images", "test images"}
    assert len(charts.rate_rows(records, "step")) <= 600


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
    assert values == {
        "training images": pytest.approx([0.0, 2 / 3]), "test images": [0.75, 0.25],
    }  # fmt: skip
