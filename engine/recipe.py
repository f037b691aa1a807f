"""The recipe of a run: augmentations, optimizer and learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

from engine import settings
from engine.errors import ConfigError
from engine.settings import When, setting

OPTIMIZERS = ("sgd", "adam", "adamw", "muon")
SCHEDULES = ("cosine_annealing", "multi_step", "one_cycle", "triangular", "linear", "constant")
MAX_EPOCHS = 1_000_000
ADAM_LR = 1e-3  # Kingma and Ba 2015, arXiv 1412.6980, algorithm 1


@dataclass(frozen=True)
class AugmentConfig:
    """The augmentations in use, in the order in which they are applied."""

    crop: bool = setting(True, "--no-crop", "Random crop", "random 32×32 crop of the padded image")
    crop_padding: int = setting(
        4,
        "--crop-padding",
        "Crop padding",
        "padding on each side: the largest shift of the random crop",
        unit="pixels",
        low=1,
        high=16,
        step=1,
        when=When("augment.crop", (True,)),
    )
    crop_reflect: bool = setting(
        False,
        "--crop-reflect",
        "Reflect at the edge",
        "pad by reflection instead of black",
        when=When("augment.crop", (True,)),
    )
    flip: bool = setting(True, "--no-flip", "Flip", "random horizontal flip")
    flip_p: float = setting(
        0.5,
        "--flip-p",
        "Flip probability",
        "probability that an image is flipped",
        low=0,
        high=1,
        step=0.05,
        when=When("augment.flip", (True,)),
    )
    alternating_flip: bool = setting(
        False,
        "--alternating-flip",
        "Alternating flip",
        "flip at random in the first epoch, then every other epoch",
        when=When("augment.flip", (True,)),
        strict=True,
    )
    erasing: bool = setting(False, "--erase-aug", "Random erasing", "random erasing")
    erase_p: float = setting(
        0.5,
        "--erase-p",
        "Erasing probability",
        "probability that a rectangle of an image is erased",
        low=0,
        high=1,
        step=0.05,
        when=When("augment.erasing", (True,)),
    )
    erase_area_min: float = setting(
        0.02,
        "--erase-area-min",
        "Smallest area erased",
        "smallest share of the image that is erased",
        low=0,
        high=1,
        step=0.01,
        when=When("augment.erasing", (True,)),
    )
    erase_area_max: float = setting(
        0.33,
        "--erase-area-max",
        "Largest area erased",
        "largest share of the image that is erased",
        low=0,
        high=1,
        step=0.01,
        when=When("augment.erasing", (True,)),
    )
    erase_ratio_min: float = setting(
        0.3,
        "--erase-ratio-min",
        "Smallest height ÷ width",
        "smallest ratio of height to width of the erased rectangle",
        low=0.01,
        high=100,
        step=0.1,
        when=When("augment.erasing", (True,)),
    )
    erase_ratio_max: float = setting(
        3.3,
        "--erase-ratio-max",
        "Largest height ÷ width",
        "largest ratio of height to width of the erased rectangle",
        low=0.01,
        high=100,
        step=0.1,
        when=When("augment.erasing", (True,)),
    )
    mixup: bool = setting(False, "--mixup-aug", "Mixup", "mixup of pairs of images")
    mixup_alpha: float = setting(
        0.2,
        "--mixup-alpha",
        "Mixup α",
        "mixing weight λ ~ Beta(α, α): with a small α most λ are near 0 or 1, with 1 λ is uniform",
        low=0,
        high=100,
        above=True,
        step=0.05,
        when=When("augment.mixup", (True,)),
    )
    cutmix: bool = setting(False, "--cutmix-aug", "CutMix", "CutMix of pairs of images")
    cutmix_alpha: float = setting(
        1.0,
        "--cutmix-alpha",
        "CutMix α",
        "mixing weight λ ~ Beta(α, α): with a small α most λ are near 0 or 1, with 1 λ is uniform",
        low=0,
        high=100,
        above=True,
        step=0.05,
        when=When("augment.cutmix", (True,)),
    )

    def __post_init__(self):
        settings.check(self, "augment.")
        for name in ("area", "ratio"):
            low, high = (getattr(self, f"erase_{name}_{end}") for end in ("min", "max"))
            if low > high:
                path = f"augment.erase_{name}_max"
                raise ConfigError(path, f"{high:g} is below the smallest one, {low:g}")


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer, its hyperparameters, and label smoothing."""

    optimizer: str = setting("sgd", "--optim", "Optimizer", "optimizer", choices=OPTIMIZERS)
    lr: float = setting(
        0.1,
        "--lr",
        "Learning rate",
        "peak learning rate",
        aliases=("--learning-rate",),
        low=0,
        high=1000,
        above=True,
        step=0.01,
    )
    momentum: float = setting(
        0.9,
        "--momentum",
        "Momentum",
        "momentum of SGD and Muon",
        low=0,
        high=0.9999,
        step=0.05,
        when=When("optim.optimizer", ("sgd", "muon")),
    )
    nesterov: bool = setting(
        False,
        "--nesterov",
        "Nesterov",
        "Nesterov momentum, for SGD (Muon always has it)",
        when=When("optim.optimizer", ("sgd",)),
        strict=True,
    )
    weight_decay: float = setting(
        5e-4,
        "--weight-decay",
        "Weight decay",
        "weight decay; decoupled for adamw and muon, part of the gradient for the others",
        aliases=("--wd",),
        low=0,
        high=10,
        step=1e-4,
    )
    label_smoothing: float = setting(
        0.0,
        "--label-smoothing",
        "Label smoothing",
        "label smoothing",
        low=0,
        high=0.9999,
        step=0.05,
    )
    head_lr: float = setting(
        1.0,
        "--head-lr",
        "Head lr factor",
        "factor on the learning rate of the last layer",
        low=0,
        high=10_000,
        step=1.0,
    )
    bias_lr: float = setting(
        1.0,
        "--bias-lr",
        "Bias lr factor",
        "factor on the learning rate of biases",
        low=0,
        high=10_000,
        step=1.0,
    )
    ema: float = setting(
        0.0,
        "--ema",
        "Moving average of the weights",
        "decay per step of the weights' moving average, which is validated and saved; 0: off",
        low=0,
        high=0.99999,
        step=0.001,
    )

    def __post_init__(self):
        settings.check(self, "optim.")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optim.nesterov", "needs a momentum above 0")


def usual_lr(optimizer: str) -> float:
    """Default peak learning rate for an optimizer."""
    return ADAM_LR if optimizer.startswith("adam") else OptimConfig.lr


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning-rate schedule; see engine.schedules for the formulas."""

    kind: str = setting(
        "cosine_annealing",
        "--sche",
        "Schedule",
        "learning-rate schedule",
        choices=SCHEDULES,
        titles={
            "cosine_annealing": "Cosine",
            "multi_step": "Steps",
            "one_cycle": "One cycle",
            "triangular": "Triangular",
            "linear": "Linear",
            "constant": "Constant",
        },
    )
    milestones: tuple[int, ...] = setting(
        (),
        "--milestones",
        "Milestones",
        "epochs after which the learning rate is multiplied by gamma; repeat for each",
        aliases=("-m",),
        unit="epochs",
        low=1,
        high=MAX_EPOCHS,
        when=When("schedule.kind", ("multi_step",)),
        strict=True,
    )
    gamma: float = setting(
        0.1,
        "--sche-gamma",
        "Gamma",
        "factor on the learning rate at a milestone",
        low=0,
        high=1,
        above=True,
        step=0.05,
        when=When("schedule.kind", ("multi_step",)),
    )
    t_max: int | None = setting(
        None,
        "--sche-t-max",
        "Epochs to reach 0",
        "epochs in which cosine annealing reaches 0",
        unit="epochs",
        none="all",
        low=1,
        high=MAX_EPOCHS,
        step=1,
        when=When("schedule.kind", ("cosine_annealing",)),
        strict=True,
    )
    warmup: float = setting(
        0.0,
        "--warmup",
        "Warm-up epochs",
        "epochs of linear warm-up from 0, by which the schedule is multiplied",
        unit="epochs",
        low=0,
        high=100_000,
        step=1.0,
    )

    def __post_init__(self):
        settings.check(self, "schedule.")
