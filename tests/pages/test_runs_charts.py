"""Charts of several runs: colors, bands, and what each point is."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.ui import axes
from pages.ui.charts import TRAIN, colors, domain
from pages.ui.runs import charts
from tests.fixtures_app import epoch_row

TEST = "test images"


def groups_of(runs: dict[str, list]) -> list[charts.Group]:
    return [charts.Group(label, color, of) for color, (label, of) in enumerate(runs.items())]


def overlay_rows(runs: dict[str, list], measure: str = "accuracy", splits=(TEST,)):
    return charts.overlay_rows(groups_of(runs), measure, splits)


def curve(*values: float) -> list[dict]:
    return [epoch_row(i, v) for i, v in enumerate(values, start=1)]


@given(st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=2, max_size=6))
def test_a_group_is_its_mean_with_one_standard_deviation_either_side(table):
    groups = {"g": [curve(*row) for row in table]}
    rows = overlay_rows(groups)
    mean, spread = np.mean(table, axis=0), np.std(table, axis=0, ddof=1)
    np.testing.assert_allclose(rows["value"], mean, atol=1e-12)
    np.testing.assert_allclose(rows["low"], mean - spread, atol=1e-12)
    np.testing.assert_allclose(rows["high"], mean + spread, atol=1e-12)
    assert rows["x"].tolist() == [1, 2, 3, 4, 5]


def test_the_spread_is_a_sample_s_and_not_a_population_s():
    rows = overlay_rows({"g": [curve(0.4), curve(0.6)]})
    assert rows["high"][0] - rows["value"][0] == pytest.approx(statistics.stdev([0.4, 0.6]))


def test_a_single_run_has_its_values_and_no_band():
    groups = {"one": [curve(0.1, 0.2)], "two": [curve(0.3), curve(0.5)]}
    rows = overlay_rows(groups).set_index("series")
    one, two = rows.loc[["one"]], rows.loc[["two"]]
    assert one["value"].tolist() == [0.1, 0.2]
    assert one[["low", "high"]].isna().all(axis=None), "empty, not a band of no height"
    assert not two.isna().any(axis=None), "its own band is whole"
    assert not rows["value"].isna().any()


def test_the_band_s_axis_is_not_drawn_down_to_0_by_runs_without_one():
    groups = {"one": [curve(0.1, 0.2)], "two": [curve(0.3), curve(0.5)]}
    rows = overlay_rows(groups)
    spec = charts.overlay_spec(rows, "accuracy", groups_of(groups), (TEST,))
    lines = [layer["encoding"]["y"] for layer in spec["layer"] if "y2" not in layer["encoding"]]
    assert lines and all(y["scale"]["zero"] is False for y in lines)


def marks(groups: dict) -> list[tuple[str, float]]:
    """Kind and opacity of each layer."""
    spec = charts.overlay_spec(overlay_rows(groups), "accuracy", groups_of(groups), (TEST,))
    opacity = [layer["encoding"].get("opacity", {}).get("value") for layer in spec["layer"]]
    return list(zip([layer["mark"]["type"] for layer in spec["layer"]], opacity, strict=True))


def test_bands_dots_and_the_best_epoch_are_drawn_where_they_are_few_or_needed():
    long, short, many = curve(0.1, 0.2), curve(0.3), [curve(*[0.1] * 300) for _ in range(7)]
    line, dots, hidden, ring = ("line", None), ("point", 1.0), ("point", 0.0), ("point", None)
    assert marks({"a": [long], "b": [long]}) == [line, dots, ring]
    assert marks({"a": [long, long], "b": [long]}) == [("area", None), line, dots, ring]
    assert marks({"a": [long, long]}) == [("area", None), line, dots], "no run of its own"
    runs = {name: [run] for name, run in zip("abcdefg", many, strict=True)}
    assert marks(runs) == [line, hidden, ring], "hidden, but with their values under the pointer"
    assert marks(runs | {"h": [short]}) == [line, dots, ring], "a lone epoch would not be seen"


def test_curves_of_many_long_runs_have_few_points_and_their_best_epoch():
    runs = {str(i): [curve(*[0.5] * 400, 0.9, *[0.6] * 400)] for i in range(20)}
    rows = charts.overlay_rows(groups_of(runs), "loss", (TEST,))
    assert len(rows) <= charts.MAX_DOTS + 20
    assert rows[rows["best"]]["x"].tolist() == [401] * 20


def test_a_run_keeps_its_color_whatever_is_drawn_with_it_and_no_two_are_alike():
    names = [f"run-{i}" for i in range(20)]
    alone = {name: colors([name])[name] for name in names}
    assert set(alone.values()) <= set(range(8)), "the most distinct"
    free = {alone[name]: name for name in names[:10]}  # one name for each color
    assert colors(list(free.values())) == {name: alone[name] for name in free.values()}
    every = colors(names)
    assert sorted(every.values()) == list(range(20))
    assert colors(names[::-1]) == every, "in whatever order they are ticked"
    assert domain([("x", 2)])[2] == "x" and len(set(domain([("x", 2)]))) == 20


def test_other_axes_count_what_each_run_has_done():
    small = charts.Group("small", 0, [curve(0.1, 0.2)], costs=axes.Costs(64, macs=1e6))
    large = charts.Group("large", 1, [curve(0.1, 0.2)], costs=axes.Costs(128, macs=1e6))
    rows = charts.overlay_rows([small, large], "lr", ("",), "macs").set_index("series")
    assert rows.loc["small"]["x"].tolist() == [64e6, 128e6]
    assert rows.loc["large"]["x"].tolist() == [128e6, 256e6]


def test_accuracy_by_cost_leaves_out_what_is_not_known():
    runs = [
        ("a", "a-1", {"parameters": 5.0, "macs": 0.0}, 0.5),
        ("a", "a-2", {"parameters": 6.0, "macs": 7.0}, None),
    ]
    rows = charts.cost_rows(runs, "parameters")
    assert rows.values.tolist() == [[5.0, 0.5, "a", "a-1"]]
    assert charts.cost_rows(runs, "macs").empty


@pytest.mark.parametrize("length", [1, 9, 40, 80])
def test_the_names_of_many_runs_are_all_seen(length):
    names = [f"{i:02}".rjust(length, "r")[-max(length, 2) :] for i in range(20)]
    groups = {n: [curve(0.1, 0.2)] for n in names}
    spec = charts.overlay_spec(overlay_rows(groups), "accuracy", groups_of(groups), (TEST,))
    color = spec["layer"][0]["encoding"]["color"]
    assert color["scale"]["domain"] == color["legend"]["values"] == names
    # of 7 pixels a letter, up to the limit of a label, and 30 for its symbol
    width = min(7 * len(names[0]), color["legend"]["labelLimit"]) + 30
    assert color["legend"]["columns"] * width <= 860


def test_a_group_is_drawn_as_far_as_all_its_runs_have_come():
    groups = {"g": [curve(0.1, 0.2, 0.3), curve(0.3, 0.4)]}
    rows = overlay_rows(groups)
    assert rows["x"].tolist() == [1, 2]
    assert rows["value"].tolist() == pytest.approx([0.2, 0.3])


def test_a_run_that_has_only_begun_does_not_hide_the_others_of_its_group():
    rows = overlay_rows({"g": [curve(0.1, 0.2), []]})
    assert rows["value"].tolist() == [0.1, 0.2]
    assert overlay_rows({"g": [[], []]}).empty
    assert overlay_rows({}).empty


def test_both_kinds_of_images_are_told_apart():
    rows = overlay_rows({"a": [curve(0.4)]}, "accuracy", (TEST, TRAIN))
    assert rows[["split", "value"]].values.tolist() == [[TEST, 0.4], [TRAIN, 0.2]]
