"""The recipe of a run: optimizer and learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

from engine import settings
from engine.errors import ConfigError
from engine.settings import When, setting

OPTIMIZERS = ("sgd", "adam", "adamw", "muon")
SCHEDULES = ("cosine_annealing", "multi_step", "one_cycle", "triangular", "linear", "constant")
MAX_EPOCHS = 1_000_000
# Peak learning rates. Adam: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1; Muon: Jordan 2024,
# arXiv 2404.00498, as in the preset Speedrun.
USUAL_LR = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3, "muon": 0.24}


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer, its hyperparameters, and label smoothing."""

    optimizer: str = setting(
        "sgd",
        "--optim",
        "Optimizer",
        "algorithm that updates the weights from their gradients",
        usual="sgd; adamw needs less tuning",
        choices=OPTIMIZERS,
    )
    lr: float = setting(
        0.1,
        "--lr",
        "Learning rate",
        "peak learning rate: the size of the steps",
        usual="0.05 to 0.2 for sgd, 0.001 for adam and adamw, 0.24 for muon",
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
        "momentum factor of SGD, and of Muon for convolutions",
        usual="0.9; 0.6 for muon",
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
        "weight decay coefficient: an L2 penalty for sgd and adam, decoupled for adamw and muon "
        "(muon: not of convolutions)",
        usual="5e-4 for sgd, 0.01 to 0.1 for adamw and muon",
        aliases=("--wd",),
        low=0,
        high=10,
        step=1e-4,
    )
    label_smoothing: float = setting(
        0.0,
        "--label-smoothing",
        "Label smoothing",
        "share of the target probability that is spread over all classes",
        usual="0 or 0.1",
        low=0,
        high=0.9999,
        step=0.05,
    )
    head_lr: float = setting(
        1.0,
        "--head-lr",
        "Head learning rate (factor)",
        "factor on the learning rate of the last layer",
        usual="1",
        low=0,
        high=10_000,
        step=1.0,
    )
    bias_lr: float = setting(
        1.0,
        "--bias-lr",
        "Bias learning rate (factor)",
        "factor on the learning rate of biases",
        usual="1",
        low=0,
        high=10_000,
        step=1.0,
    )
    ema: float = setting(
        0.0,
        "--ema",
        "Weight averaging (EMA)",
        "decay per step of the exponential moving average of the weights, which is validated and "
        "saved; 0: off",
        usual="0, or 0.99 to 0.999",
        low=0,
        high=0.99999,
        step=0.001,
    )

    def __post_init__(self):
        settings.check(self, "optim.")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optim.nesterov", "needs a momentum above 0")


def usual_lr(optimizer: str) -> float:
    """Default peak learning rate for an optimizer; that of the first for an unknown one."""
    return USUAL_LR.get(optimizer, OptimConfig.lr)


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning-rate schedule; see engine.schedules for the formulas."""

    kind: str = setting(
        "cosine_annealing",
        "--sche",
        "Schedule",
        "how the learning rate changes over the epochs",
        usual="cosine_annealing or one_cycle",
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
        usual="half and three quarters of the epochs",
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
        usual="0.1",
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
        usual="all",
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
        "first epochs, in which the schedule is multiplied by a factor that rises from 0 to 1",
        usual="0; 1 to 5 for large learning rates",
        unit="epochs",
        low=0,
        high=100_000,
        step=1.0,
    )

    def __post_init__(self):
        settings.check(self, "schedule.")
