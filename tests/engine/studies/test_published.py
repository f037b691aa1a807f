"""The four published studies can be run, and their settings are those of the published rows."""

import pytest

from engine.config import RunConfig
from engine.models import build_model
from engine.studies.published import STUDIES
from engine.studies.study import Study


def test_names():
    assert list(STUDIES) == [
        "architectures",
        "deeper-or-wider",
        "activations-and-norms",
        "augmentations",
    ]
    assert all(study.name == name for name, study in STUDIES.items())


@pytest.mark.parametrize("name", STUDIES)
def test_a_published_study_is_valid_json_and_has_footnotes(name):
    study = STUDIES[name]
    assert Study.from_json(study.to_json()) == study
    assert len(study.footnotes) >= 3
    assert any("best of 250" in note for note in study.footnotes)


@pytest.mark.parametrize("name", STUDIES)
def test_the_recipe_is_the_published_one(name):
    for row in STUDIES[name].rows():
        config = STUDIES[name].config(row, 0)
        optim = config.optim
        assert (optim.optimizer, optim.lr, optim.momentum) == ("sgd", 0.1, 0.9)
        assert (optim.weight_decay, config.batch_size, config.epochs) == (5e-4, 128, 250)
        assert config.schedule.kind == "cosine_annealing"
        assert config.augment.crop and config.augment.flip


@pytest.mark.parametrize(
    ("name", "erasing"), [("architectures", 5), ("deeper-or-wider", 3), ("augmentations", 3)]
)
def test_rows_with_erasing(name, erasing):
    study = STUDIES[name]
    assert sum(study.config(row, 0).augment.erasing for row in study.rows()) == erasing


def test_contrasts_of_augmentations_stay_within_an_architecture():
    study = STUDIES["augmentations"]
    for pair in study.contrasts:
        one, other = (study.row(name) for name in pair)
        assert one.settings["model.arch"] == other.settings["model.arch"]
        assert "augment.erasing" not in other.settings and "augment.mixup" not in other.settings


@pytest.mark.parametrize("name", ["architectures", "deeper-or-wider"])
def test_parameters_are_those_of_the_networks(name):
    for row in STUDIES[name].rows():
        model = build_model(**RunConfig().model.arguments | {"arch": row.settings["model.arch"]})
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        assert millions == pytest.approx(row.published.parameters_m, abs=0.01)
