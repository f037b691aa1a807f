"""The four questions of the published study: settings, published results and footnotes.

All published runs: SGD, learning rate 0.1, momentum 0.9, weight decay 5e-4, batch size 128, cosine
annealing over 250 epochs, crop and flip. Those are RunConfig's defaults, except for the epochs.
"""

from __future__ import annotations

from typing import Any

from engine.config import SETTINGS, join_command
from engine.settings import Role
from engine.studies.study import FILE, Factor, Published, Study, Value

RECIPE: dict[str, Any] = {"epochs": 250}
WITH_ERASING = {**RECIPE, "augment.erasing": True}

ONE_SEED = (
    "Published: one seed per row, and the best of 250 epochs, chosen on the test set. Measured "
    "here: the last epoch, mean over seeds."
)
OWN_RECIPE = (
    "Results of short or narrow runs hold for their own recipe; they do not contradict results "
    "after 250 epochs at full width."
)
ALL_ERASING = "Published: all runs of this table were trained with random erasing, as those here."
RELU_BATCH = (
    "Published: the run with ReLU and batch norm without augmentation (96.193 %) was trained with "
    "random erasing, and the other rows without; it is no baseline for them. Here, no row has "
    "erasing."
)
FIRST_NORM = (
    "Published: in the rows of other norms, only the first norm layer of the network was replaced. "
    "Here, the norm replaces every norm layer."
)
NONE = (
    "Here, “none” means without random erasing and mixup; crop and flip are on. The published "
    "resnet18 without augmentation (96.193 %) was trained with random erasing: it is no baseline "
    "for the other rows."
)


def _arch(arch: str, *results: float) -> Value:
    return Value(arch, {"model.arch": arch}, Published(*results))


def _layers(name: str, activation: str, norm: str, *results: float) -> Value:
    """A row of resnet18 with other layers; its parameters hardly depend on them."""
    settings = {"model.activation": activation, "model.norm": norm}
    return Value(name, settings, Published(11.17, *results))


def _augmented(arch: str, augmentation: str, settings: dict[str, Any], *results: float) -> Value:
    return Value(f"{arch}, {augmentation}", {"model.arch": arch, **settings}, Published(*results))


def _mixup(alpha: float) -> dict[str, Any]:
    return {"augment.mixup": True, "augment.mixup_alpha": alpha}


ERASING = {"augment.erasing": True}

ARCHITECTURES = Study(
    name="architectures",
    question="Which architecture is the most accurate?",
    factors=(
        Factor(
            "Architecture",
            (
                _arch("resnet18", 11.17, 98.957, 96.015),
                _arch("vgg16", 14.72, 98.661, 95.214),
                _arch("densenet121", 6.95, 99.257, 96.301),
                _arch("resnext18", 10.02, 99.025, 95.827),
                _arch("convmixer256d16", 1.28, 98.649, 93.701),
            ),
        ),
    ),
    base=WITH_ERASING,
    baseline="resnet18",
    footnotes=(ONE_SEED, ALL_ERASING, OWN_RECIPE),
)

DEEPER_OR_WIDER = Study(
    name="deeper-or-wider",
    question="Is a network better made deeper or wider?",
    factors=(
        Factor(
            "Architecture",
            (
                _arch("resnet18", 11.17, 98.957, 96.015),
                _arch("resnet34", 21.28, 98.454, 95.659),
                _arch("wideresnet14", 21.06, 99.365, 96.539),
            ),
        ),
    ),
    base=WITH_ERASING,
    baseline="resnet18",
    contrasts=(("wideresnet14", "resnet34"),),
    footnotes=(
        "resnet34 is the deeper network; wideresnet14 is the wider one, with about as many "
        "parameters.",
        ONE_SEED,
        ALL_ERASING,
        OWN_RECIPE,
    ),
)

ACTIVATIONS_AND_NORMS = Study(
    name="activations-and-norms",
    question="Do the activation and the norm matter?",
    factors=(
        Factor(
            "Activation and norm",
            (
                _layers("ReLU/batch", "relu", "batch", 99.090, 96.193),
                _layers("leaky ReLU/batch", "leaky_relu", "batch", 99.992, 95.372),
                _layers("CELU/batch", "celu", "batch", 98.143, 91.475),
                _layers("GELU/batch", "gelu", "batch", 99.996, 94.709),
                _layers("ReLU/instance", "relu", "instance", 99.996, 95.085),
                _layers("ReLU/layer", "relu", "layer", 99.994, 95.115),
                _layers("ReLU/group", "relu", "group", 99.996, 95.045),
            ),
        ),
    ),
    base={**RECIPE, "model.arch": "resnet18"},
    baseline="ReLU/batch",
    footnotes=(RELU_BATCH, FIRST_NORM, ONE_SEED, OWN_RECIPE),
)

AUGMENTATIONS = Study(
    name="augmentations",
    question="Which augmentation helps which architecture?",
    factors=(
        Factor(
            "Architecture and augmentation",
            (
                _augmented("resnet18", "none", {}, 11.17, 99.090, 96.193),
                _augmented("resnet18", "erasing", ERASING, 11.17, 98.957, 96.015),
                _augmented("convmixer256d16", "none", {}, 1.28, 99.954, 92.692),
                _augmented("convmixer256d16", "erasing", ERASING, 1.28, 98.649, 93.701),
                _augmented("vgg16", "none", {}, 14.72, 99.986, 94.165),
                _augmented("vgg16", "erasing", ERASING, 14.72, 98.661, 95.214),
                _augmented("resnet18", "mixup 0.2", _mixup(0.2), 11.17, 91.378, 95.926),
                _augmented("resnet18", "mixup 0.3", _mixup(0.3), 11.17, 85.472, 95.767),
                _augmented("resnet18", "mixup 0.4", _mixup(0.4), 11.17, 83.565, 96.005),
            ),
        ),
    ),
    base=RECIPE,
    contrasts=(
        ("resnet18, erasing", "resnet18, none"),
        ("convmixer256d16, erasing", "convmixer256d16, none"),
        ("vgg16, erasing", "vgg16, none"),
        ("resnet18, mixup 0.2", "resnet18, none"),
        ("resnet18, mixup 0.3", "resnet18, none"),
        ("resnet18, mixup 0.4", "resnet18, none"),
    ),
    footnotes=(
        NONE,
        "Mixup: training accuracy is measured on mixed images, so it is lower.",
        ONE_SEED,
        OWN_RECIPE,
    ),
)

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (ARCHITECTURES, DEEPER_OR_WIDER, ACTIVATIONS_AND_NORMS, AUGMENTATIONS)
}


def command(study: Study) -> str:
    """The command that trains a study: a built-in one by its name, another from its file.

    Every zip of a study holds that file.
    """
    name, flags = FILE, []
    for known in STUDIES.values():
        if study.factors == known.factors and (changes := _changes(study, known)) is not None:
            name, flags = known.name, changes
    words = ["python", "train.py", "--study", name, "--seeds", str(len(study.seeds))]
    words += ["--seed", str(study.seeds[0])] if study.seeds[0] else []
    return join_command([*words, *flags])


def _changes(study: Study, known: Study) -> list[str] | None:
    """Flags for what a study's base has changed of a built-in one; None if flags cannot say it."""
    words = []
    for path in dict.fromkeys((*study.base, *known.base)):
        setting = SETTINGS[path]
        value, before = (each.base.get(path, setting.default) for each in (study, known))
        if value == before or setting.role is Role.PLACE:
            continue
        if isinstance(value, bool | list | tuple | None):  # a flag only turns a switch on
            return None
        words += [setting.flag, str(value)]
    return words
