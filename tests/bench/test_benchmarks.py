"""Every benchmark runs to its end at a tiny size, and its JSON is as documented. No speed here."""

import json

import pytest

from bench import augment, inference, report, throughput, ui

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = ["--repeats", "2"]
RUNS = {
    "throughput": (
        throughput,
        ["--arch", "speedrun", "--batch-size", "4", "--activations", "elu", "--norms", "group"],
        [
            *("speedrun", "speedrun, in a thread"),
            *("speedrun elu", "speedrun elu, in a thread"),
            *("speedrun group norm", "speedrun group norm, in a thread"),
        ],
    ),
    "augment": (
        augment,
        ["--images", "20", "--batch-size", "8", "--arch", "speedrun"],
        ["crop, flip, normalize, erasing", "part of a speedrun step that augments"],
    ),
    "inference": (
        inference,
        ["--images", "6", "--arch", "speedrun"],
        None,
    ),
    "lists": (
        ui,
        ["--only", "lists", "--runs", "4"],
        ["list of 4 runs", "4 of them overlaid over 250 epochs"],
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_and_writes_its_rows(name, tmp_path, capsys, request):
    module, words, names = RUNS[name]
    if module is ui:
        request.getfixturevalue("chromium_path")
    file = tmp_path / "out.json"
    assert module.main([*words, *TINY, "--json", str(file)]) == 0
    content, told = json.loads(file.read_text()), capsys.readouterr().out
    assert set(content) == {"machine", "rows"}
    assert content["machine"]["torch"]
    for row in content["rows"]:
        assert set(row) == {"name", "value", "baseline", "ratio", "unit", "n", "spread"}
        low, high = row["spread"]
        assert low <= (row["value"] if row["ratio"] is None else row["ratio"]) <= high
        assert (row["baseline"] is None) == (row["ratio"] is None)
        assert f"\n{row['name']}: " in told
    if names:
        assert [row["name"] for row in content["rows"]] == names


def test_a_comparison_is_of_pairs_and_tells_their_range():
    row = report.compare("x", "images/s", [10, 30, 20], [5, 10, 20])
    assert (row.value, row.baseline, row.ratio) == (20, 10, 2)
    assert row.spread == (1, 3)
    assert row.n == 3


def test_candidates_take_turns_and_first_calls_do_not_count():
    calls = []
    candidates = [lambda: calls.append("a"), lambda: calls.append("b")]
    first, second = report.rates(candidates, 10, repeats=2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert len(first) == len(second) == 2
    assert min(first + second) > 0
