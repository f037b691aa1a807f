"""A study's declaration: rows, configs, names, JSON, and what is refused."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.errors import ConfigError, StudyError
from engine.runs.folder import check_name
from engine.studies import study
from engine.studies.study import Factor, Published, Study, Value

NORMS = Factor(
    "Norm",
    (
        Value("batch", {"model.norm": "batch"}, Published(11.17, 99.09, 96.193)),
        Value("group", {"model.norm": "group"}),
    ),
)
WIDTHS = Factor("Width", (Value("1/4", {"model.width": 0.25}), Value("1/2", {"model.width": 0.5})))


def make(**changes):
    values = {
        "name": "norms",
        "question": "Does the norm matter?",
        "factors": (NORMS,),
        "base": {"data.dataset": "shapes", "epochs": 2, "schedule.milestones": [1, 2]}
        | {"schedule.kind": "multi_step"},
        "baseline": "batch",
    }
    return Study(**{**values, **changes})


def test_runs_differ_in_the_factor_and_the_seed_alone():
    found = make(seeds=(0, 5)).runs()
    assert [(row.name, seed) for _, row, seed in found] == [
        ("batch", 0), ("group", 0), ("batch", 5), ("group", 5)
    ]  # fmt: skip
    configs = [make().config(row, seed).to_dict() for _, row, seed in found]
    for values in configs:
        values["model"].pop("norm"), values.pop("seed")
    assert all(values == configs[0] for values in configs)
    assert configs[0]["schedule"]["milestones"] == (1, 2)


def test_a_grid_has_every_combination():
    grid = make(factors=(NORMS, WIDTHS), baseline=None)
    assert [row.name for row in grid.rows()] == [
        "batch × 1/4", "batch × 1/2", "group × 1/4", "group × 1/2"
    ]  # fmt: skip
    config = grid.config(grid.row("group × 1/2"), 3)
    assert (config.model.norm, config.model.width, config.seed) == ("group", 0.5, 3)


def test_names_of_runs_are_valid_and_distinct():
    odd = Factor("x", (Value("λ/…", {"epochs": 1}), Value("λ…/", {"epochs": 3})))
    names = [name for name, *_ in make(factors=(odd,), baseline=None).runs()]
    assert len(set(names)) == 6
    for name in names:
        check_name(name)


def test_json_round_trip(tmp_path):
    first = make(contrasts=(("group", "batch"),), margin=0.5, seconds=300.0, footnotes=("One.",))
    study.save(first, tmp_path)
    assert study.load(tmp_path, "norms") == dataclasses.replace(first, base=first.base)
    assert study.list_studies(tmp_path) == ["norms"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"question": ""}, "question"),
        ({"factors": []}, "factors"),
        ({"factors": [{"name": "Norm", "values": [{"name": "batch"}]}]}, "values.settings"),
        ({"factors": [{"name": "x", "values": 3}]}, "factors"),
        ({"baseline": "none"}, "baseline or contrasts"),
        ({"contrasts": [["batch"]]}, "contrasts"),
        ({"seeds": [0, 0]}, "seeds"),
        ({"seeds": ["a"]}, "seeds"),
        ({"seconds": "long"}, "seconds"),
        ({"race": 1}, "race"),
        ({"base": {"optim.speed": 1}}, "base.optim.speed"),
        ({"base": {"optim.lr": -1}}, "optim.lr"),
        ({"surprise": 1}, "study.surprise"),
    ],
)
def test_what_a_file_may_not_hold_is_refused_by_name(change, field):
    values = {**json.loads(make().to_json()), **change}
    with pytest.raises(ConfigError) as error:
        Study.from_json(json.dumps(values))
    assert error.value.field == field


def test_a_factor_that_selects_on_validation_data_is_refused():
    holdouts = Factor("x", (Value("a", {"data.holdout": 10}), Value("b", {"data.holdout": 20})))
    with pytest.raises(ConfigError, match="cannot be varied"):
        make(factors=(holdouts,), baseline=None)


def test_one_writer(tmp_path):
    study.save(make(), tmp_path)

    def take() -> None:
        with study.hold(tmp_path, "norms"):
            pass

    with ThreadPoolExecutor(1) as other:
        with study.hold(tmp_path, "norms"):
            take()
            with pytest.raises(StudyError, match="another process"):
                other.submit(take).result()
        other.submit(take).result()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"study\.json"):
        study.load(tmp_path, "norms")
