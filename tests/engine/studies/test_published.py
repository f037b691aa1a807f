"""The four published studies can be run, and their settings are those of the published rows."""

import dataclasses

import pytest

from engine.config import RunConfig
from engine.models import build_model
from engine.studies.published import STUDIES, command
from engine.studies.study import Study

# Parameters in millions, training and validation accuracy in %, of the published tables.
PUBLISHED = {
    "architectures": {
        "resnet18": (11.17, 98.957, 96.015),
        "vgg16": (14.72, 98.661, 95.214),
        "densenet121": (6.95, 99.257, 96.301),
        "resnext18": (10.02, 99.025, 95.827),
        "convmixer256d16": (1.28, 98.649, 93.701),
    },
    "deeper-or-wider": {
        "resnet18": (11.17, 98.957, 96.015),
        "resnet34": (21.28, 98.454, 95.659),
        "wideresnet14": (21.06, 99.365, 96.539),
    },
    "activations-and-norms": {
        "ReLU/batch": (11.17, 99.090, 96.193),
        "leaky ReLU/batch": (11.17, 99.992, 95.372),
        "CELU/batch": (11.17, 98.143, 91.475),
        "GELU/batch": (11.17, 99.996, 94.709),
        "ReLU/instance": (11.17, 99.996, 95.085),
        "ReLU/layer": (11.17, 99.994, 95.115),
        "ReLU/group": (11.17, 99.996, 95.045),
    },
    "augmentations": {
        "resnet18, none": (11.17, 99.090, 96.193),
        "resnet18, erasing": (11.17, 98.957, 96.015),
        "convmixer256d16, none": (1.28, 99.954, 92.692),
        "convmixer256d16, erasing": (1.28, 98.649, 93.701),
        "vgg16, none": (14.72, 99.986, 94.165),
        "vgg16, erasing": (14.72, 98.661, 95.214),
        "resnet18, mixup 0.2": (11.17, 91.378, 95.926),
        "resnet18, mixup 0.3": (11.17, 85.472, 95.767),
        "resnet18, mixup 0.4": (11.17, 83.565, 96.005),
    },
}


@pytest.mark.parametrize("name", STUDIES)
def test_published_results_are_those_of_the_tables(name):
    found = {row.name: dataclasses.astuple(row.published) for row in STUDIES[name].rows()}
    assert found == PUBLISHED[name]


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


def test_the_command_of_a_study():
    study = STUDIES["architectures"]
    places = {"data.root": "/home/me", "data.dataset": "my images.zip"}
    cut = dataclasses.replace(
        study, base={**study.base, **places, "model.width": 0.25, "epochs": 8}
    )
    expected = (
        "python train.py --study architectures --seeds 3 --epochs 8 --dataset 'my images.zip'"
    )
    assert command(cut) == f"{expected} --width 0.25"
    second = dataclasses.replace(study, name="architectures-2", seeds=(10, 11))
    assert command(second) == "python train.py --study architectures --seeds 2 --seed 10"
    for base in ({**study.base, "augment.erasing": False}, {}):
        own = dataclasses.replace(study, base=base, name="mine")
        assert command(own) == "python train.py --study study.json --seeds 3"


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
