"""RunConfig: the whole truth of one training run, checked when made, as JSON and as a command."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from engine import checks
from engine.errors import ConfigError
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS

OPTIMIZERS = ("sgd", "adam", "adamw", "muon")
SCHEDULES = ("cosine_annealing", "multi_step", "one_cycle", "triangular", "linear", "constant")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MAX_JSON_BYTES = 1_000_000  # a real config is 2 KB; anything near this is not one


@dataclass(frozen=True)
class ModelConfig:
    """The network. None for activation or norm means the architecture's own default."""

    arch: str = "resnet18"  # a name in engine.models.ARCHITECTURES
    activation: str | None = None  # a name in engine.models.ACTIVATIONS
    norm: str | None = None  # a name in engine.models.NORMS
    width: float = 1.0  # multiplier on every channel count, above 0
    num_classes: int | None = None  # 2 or more; None: as many as the data set has
    whitening: bool = False  # a patch-whitening layer first; speedrun has its own in any case

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of build_model; 10 classes while the data set is not known."""
        return {**vars(self), "num_classes": self.num_classes or 10}

    def __post_init__(self):
        checks.choice("model.arch", self.arch, ARCHITECTURES)
        if self.activation is not None:
            checks.choice("model.activation", self.activation, ACTIVATIONS)
        if self.norm is not None:
            checks.choice("model.norm", self.norm, NORMS)
        checks.number("model.width", self.width, 0, 64, above=True)
        checks.flag("model.whitening", self.whitening)
        if self.num_classes is not None:
            checks.integer("model.num_classes", self.num_classes, 2, 100_000)


@dataclass(frozen=True)
class DataConfig:
    """What to train on and what to measure on."""

    dataset: str = "cifar10"  # cifar10, cifar100, shapes, or a path to class folders or a zip
    root: str = "data"  # folder for archives, downloads and decoded caches
    url: str | None = None  # mirror of the archive; accepted only if its MD5 matches
    holdout: int = 0  # training images kept for validation; 0: the test set is used, and said so
    limit: int | None = None  # train on a seeded subset of so many images; None: all

    def __post_init__(self):
        checks.text("data.dataset", self.dataset)
        checks.text("data.root", self.root)
        if self.url is not None:
            checks.text("data.url", self.url)
            if not self.url.startswith(("http://", "https://")):
                raise ConfigError(
                    "data.url", "give an address that starts with http:// or https://"
                )
        checks.integer("data.holdout", self.holdout, 0, 10_000_000)
        if self.limit is not None:
            checks.integer("data.limit", self.limit, 1, 10_000_000)


@dataclass(frozen=True)
class AugmentConfig:
    """Which augmentations are on, in the order they are applied."""

    crop: bool = True  # random 32×32 crop of the padded image
    crop_padding: int = 4  # pixels on each side, 1 to 16
    crop_reflect: bool = False  # a moved image goes on as its mirror image, not in black
    flip: bool = True  # horizontal flip, probability 0.5
    alternating_flip: bool = False  # flip at random in epoch 1, then every other epoch
    erasing: bool = False  # random erasing, probability 0.5
    mixup: bool = False
    mixup_alpha: float = 0.2  # λ ~ Beta(α, α), above 0
    cutmix: bool = False
    cutmix_alpha: float = 1.0  # λ ~ Beta(α, α), above 0

    def __post_init__(self):
        for name in (
            "crop",
            "crop_reflect",
            "flip",
            "alternating_flip",
            "erasing",
            "mixup",
            "cutmix",
        ):
            checks.flag(f"augment.{name}", getattr(self, name))
        checks.integer("augment.crop_padding", self.crop_padding, 1, 16)
        if self.alternating_flip and not self.flip:
            raise ConfigError("augment.alternating_flip", "needs the flip, which is off")
        checks.number("augment.mixup_alpha", self.mixup_alpha, 0, 100, above=True)
        checks.number("augment.cutmix_alpha", self.cutmix_alpha, 0, 100, above=True)


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and what regularizes the loss."""

    optimizer: str = "sgd"  # one of OPTIMIZERS
    lr: float = 0.1  # peak learning rate, above 0
    momentum: float = 0.9  # SGD's or Muon's momentum, 0 to below 1
    nesterov: bool = False  # SGD only; Muon always is
    weight_decay: float = 5e-4  # 0 or more; decoupled for adamw and muon, else in the gradient
    label_smoothing: float = 0.0  # 0 to below 1
    head_lr: float = 1.0  # factor on the last layer's learning rate, 0 to 10,000
    bias_lr: float = 1.0  # factor on the learning rate of biases, 0 to 10,000
    ema: float = 0.0  # decay of the moving average that is validated and kept, 0 (off) to below 1

    def __post_init__(self):
        checks.choice("optim.optimizer", self.optimizer, OPTIMIZERS)
        checks.number("optim.lr", self.lr, 0, 1000, above=True)
        checks.number("optim.momentum", self.momentum, 0, 0.9999)
        checks.flag("optim.nesterov", self.nesterov)
        checks.number("optim.weight_decay", self.weight_decay, 0, 10)
        checks.number("optim.label_smoothing", self.label_smoothing, 0, 0.9999)
        checks.number("optim.head_lr", self.head_lr, 0, 10_000)
        checks.number("optim.bias_lr", self.bias_lr, 0, 10_000)
        checks.number("optim.ema", self.ema, 0, 0.99999)
        if self.nesterov and self.optimizer != "sgd":
            raise ConfigError("optim.nesterov", "is for the sgd optimizer only")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optim.nesterov", "needs a momentum above 0")


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves; see engine.schedules for the formulas."""

    kind: str = "cosine_annealing"  # one of SCHEDULES
    milestones: tuple[int, ...] = ()  # multi_step: epochs after which lr is multiplied by gamma
    gamma: float = 0.1  # multi_step: the factor, above 0, at most 1
    t_max: int | None = None  # cosine_annealing: epochs to reach 0; None: all epochs
    warmup: float = 0.0  # epochs of linear warm-up from 0, multiplied onto the schedule

    def __post_init__(self):
        checks.choice("schedule.kind", self.kind, SCHEDULES)
        if not isinstance(self.milestones, tuple):
            raise ConfigError("schedule.milestones", "give a list of epochs")
        for milestone in self.milestones:
            checks.integer("schedule.milestones", milestone, 1, 1_000_000)
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError("schedule.milestones", "give each epoch once, in rising order")
        if self.milestones and self.kind != "multi_step":
            raise ConfigError("schedule.milestones", f"belong to multi_step, not to {self.kind}")
        checks.number("schedule.gamma", self.gamma, 0, 1, above=True)
        if self.t_max is not None:
            checks.integer("schedule.t_max", self.t_max, 1, 1_000_000)
            if self.kind != "cosine_annealing":
                raise ConfigError("schedule.t_max", f"belongs to cosine_annealing, not {self.kind}")
        checks.number("schedule.warmup", self.warmup, 0, 100_000)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's outcome. The defaults are the study's recipe."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: int = 100  # passes over the training images, 1 or more
    batch_size: int = 128  # images a step, 1 or more
    seed: int = 0  # of weights, order and augmentation, 0 to 2**31 - 1
    precision: str = "auto"  # one of PRECISIONS
    device: str = "auto"  # auto, cpu, mps, cuda or cuda:N
    pretrained: str | None = None  # run (name or folder) or .safetensors file to start from
    progressive: bool = False  # smaller images first; see engine.training.progressive
    compile: bool = False  # by torch.compile; pays on a GPU
    tta: bool = False  # measure the last epoch with test-time augmentation as well

    def __post_init__(self):
        checks.integer("epochs", self.epochs, 1, 1_000_000)
        checks.integer("batch_size", self.batch_size, 1, 1_000_000)
        checks.integer("seed", self.seed, 0, 2**31 - 1)
        checks.choice("precision", self.precision, PRECISIONS)
        checks.text("device", self.device, 32)
        checks.flag("progressive", self.progressive)
        checks.flag("compile", self.compile)
        checks.flag("tta", self.tta)
        if self.pretrained is not None:
            checks.text("pretrained", self.pretrained)
        if self.schedule.warmup > self.epochs:
            raise ConfigError(
                "schedule.warmup", f"{self.schedule.warmup:g} is more than all epochs"
            )

    def warnings(self) -> list[str]:
        """What works but is probably not meant, a line each."""
        found = []
        milestones = self.schedule.milestones
        for milestone in milestones:
            if milestone >= self.epochs:
                found.append(f"milestone {milestone} is past the end ({self.epochs} epochs)")
        if self.schedule.kind == "multi_step" and not any(m < self.epochs for m in milestones):
            found.append("multi_step has no milestone inside the epochs: lr stays constant")
        if self.schedule.t_max is not None and self.schedule.t_max != self.epochs:
            after = (
                "rises again after" if self.schedule.t_max < self.epochs else "reaches 0 only at"
            )
            found.append(f"with t_max {self.schedule.t_max} the learning rate {after} that epoch")
        if self.optim.optimizer.startswith("adam") and self.optim.lr > 0.01:
            found.append(f"lr {self.optim.lr:g} is high for {self.optim.optimizer}; 0.001 is usual")
        if self.tta and not (self.augment.flip or self.augment.crop):
            found.append("test-time augmentation has one view only: flip and crop are off")
        if self.model.arch.startswith("convmixer") and self.model.norm == "instance":
            found.append("convmixer ends in its norm: with instance norm it cannot see the image")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Nested plain types, ready for JSON."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Any) -> RunConfig:
        """The inverse of to_dict. Missing keys take their default; unknown ones are refused."""
        return _build(cls, values, "")

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """Raises ConfigError for anything that is not a run's config, however large or deep."""
        if len(text) > MAX_JSON_BYTES:
            raise ConfigError("config", f"is larger than {MAX_JSON_BYTES} bytes")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError("config", f"is not readable JSON ({type(error).__name__})") from error
        return cls.from_dict(values)

    def to_command(self, name: str | None = None) -> str:
        """The `train.py` line that repeats this run; flags at their default are left out."""
        words, defaults = ["python", "train.py"], RunConfig()
        if name:
            words += ["--name", name]
        for path, flag in FLAGS.items():
            value, default = get_field(self, path), get_field(defaults, path)
            if value == default:
                continue
            if isinstance(value, bool):
                words.append(flag)
            elif isinstance(value, tuple):
                for item in value:
                    words += [flag, str(item)]
            elif str(value).startswith("-"):  # would be taken for a flag
                words.append(f"{flag}={value}")
            else:
                words += [flag, str(value)]
        return shlex.join(words)


# One command-line flag for every field but num_classes, which the data set decides.
FLAGS = {
    "model.arch": "--arch",
    "model.activation": "--activation",
    "model.norm": "--norm",
    "model.width": "--width",
    "model.whitening": "--whitening",
    "data.dataset": "--dataset",
    "data.root": "--data-root",
    "data.url": "--data-url",
    "data.holdout": "--holdout",
    "data.limit": "--limit",
    "batch_size": "--batch-size",
    "epochs": "--epochs",
    "optim.lr": "--lr",
    "optim.optimizer": "--optim",
    "optim.momentum": "--momentum",
    "optim.nesterov": "--nesterov",
    "optim.weight_decay": "--weight-decay",
    "optim.label_smoothing": "--label-smoothing",
    "optim.head_lr": "--head-lr",
    "optim.bias_lr": "--bias-lr",
    "optim.ema": "--ema",
    "schedule.kind": "--sche",
    "schedule.milestones": "--milestones",
    "schedule.gamma": "--sche-gamma",
    "schedule.t_max": "--sche-t-max",
    "schedule.warmup": "--warmup",
    "augment.crop": "--no-crop",
    "augment.crop_padding": "--crop-padding",
    "augment.crop_reflect": "--crop-reflect",
    "augment.flip": "--no-flip",
    "augment.alternating_flip": "--alternating-flip",
    "augment.erasing": "--erase-aug",
    "augment.mixup": "--mixup-aug",
    "augment.mixup_alpha": "--mixup-alpha",
    "augment.cutmix": "--cutmix-aug",
    "augment.cutmix_alpha": "--cutmix-alpha",
    "precision": "--precision",
    "device": "--device",
    "seed": "--seed",
    "pretrained": "--pretrained",
    "progressive": "--progressive",
    "compile": "--compile",
    "tta": "--tta",
}


def get_field(config: RunConfig, path: str) -> Any:
    """The value at a dotted path such as "optim.lr"."""
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value


def with_fields(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """A copy with the fields at dotted paths replaced, e.g. {"optim.lr": 0.05}; checked anew."""
    nested = config.to_dict()
    for path, value in values.items():
        *parents, last = path.split(".")
        target = nested
        for part in parents:
            target = target[part]
        target[last] = value
    return RunConfig.from_dict(nested)


def _build(cls: type, values: Any, prefix: str) -> Any:
    """Make dataclass `cls` from nested plain types, naming the field that does not fit."""
    if not isinstance(values, dict):
        raise ConfigError(prefix.rstrip(".") or "config", "must be a group of named settings")
    hints = _hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise ConfigError(f"{prefix}{str(key)[:80]}", "unknown setting")
    arguments = {}
    for key, value in values.items():
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            value = _build(hint, value, f"{prefix}{key}.")
        elif typing.get_origin(hint) is tuple and isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, int) and not isinstance(value, bool) and _wants_float(hint):
            value = float(value) if abs(value) <= checks.HUGE else value  # too large: refused below
        arguments[key] = value
    return cls(**arguments)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _wants_float(hint: Any) -> bool:
    return hint is float or (isinstance(hint, types.UnionType) and float in typing.get_args(hint))
