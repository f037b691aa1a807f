"""RunConfig: all settings of one run, validated on construction; as JSON and as a command."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
from dataclasses import dataclass, field
from typing import Any

from engine import settings
from engine.errors import ConfigError
from engine.inputs import AugmentConfig, DataConfig
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS
from engine.recipe import MAX_EPOCHS, OptimConfig, ScheduleConfig, usual_lr
from engine.settings import Role, Setting, setting

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CMD_SPECIAL = {*"&|<>^()%!,;="}  # characters of cmd.exe
MAX_JSON_BYTES = 1_000_000  # a real config is 2 KB; anything near this is not one


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    arch: str = setting(
        "resnet18",
        "--arch",
        "Architecture",
        "architecture (--list: all with their parameters)",
        aliases=("-a",),
        choices=ARCHITECTURES,
    )
    activation: str | None = setting(
        None,
        "--activation",
        "Activation",
        "activation of every layer",
        none="the architecture's own",
        choices=ACTIVATIONS,
    )
    norm: str | None = setting(
        None,
        "--norm",
        "Norm",
        "normalization of every layer",
        none="the architecture's own",
        choices=NORMS,
    )
    width: float = setting(
        1.0,
        "--width",
        "Width",
        "multiplier on every channel count",
        usual="1; 0.25 to 0.5 for a quick try",
        low=0,
        high=64,
        above=True,
        step=0.25,
    )
    num_classes: int | None = setting(
        *(None, None, "Classes", "number of classes"),
        none="as in the data set",
        low=2,
        high=100_000,
    )
    whitening: bool = setting(
        False,
        "--whitening",
        "Whitening layer first",
        "fixed first layer that decorrelates the pixels of 2×2 patches (speedrun has its own)",
    )

    def __post_init__(self):
        settings.check(self, "model.")

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of build_model; 10 classes while the data set is not known."""
        return {**vars(self), "num_classes": self.num_classes or 10}


@dataclass(frozen=True)
class RunConfig:
    """All settings that determine the outcome of a run.

    The defaults are the study's recipe, except for the number of epochs.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: int = setting(
        100,
        "--epochs",
        "Epochs",
        "passes over the training images",
        usual="10 to 20 for a quick run, 100 to 300 for a full one",
        aliases=("-e",),
        low=1,
        high=MAX_EPOCHS,
        step=1,
    )
    batch_size: int = setting(
        128,
        "--batch-size",
        "Batch size",
        "images per optimizer step",
        usual="64 to 512",
        aliases=("-b",),
        unit="images",
        low=1,
        high=1_000_000,
        step=16,
    )
    seed: int = setting(
        0,
        "--seed",
        "Seed",
        "starting point of all random numbers: initialization, data order and augmentation",
        usual="0; then 1, 2, … to see how much results vary",
        low=0,
        high=2**31 - 1,
        step=1,
        role=Role.SEED,
    )
    precision: str = setting(
        "auto",
        "--precision",
        "Precision",
        "precision of forward and backward pass; auto: bf16 or fp16 if the hardware supports it",
        usual="auto",
        choices=PRECISIONS,
    )
    device: str = setting(
        "auto",
        "--device",
        "Device",
        "auto, cpu, mps, cuda or cuda:N",
        high=32,
        role=Role.PLACE,
        movable=True,
    )
    pretrained: str | None = setting(
        None,
        "--pretrained",
        "Start from the weights of",
        "run (name or folder) or .safetensors file whose weights to start from",
        none="none",
    )
    first_epoch: int = setting(
        *(0, None, "First epoch"),
        "epochs of the parent runs: data order and augmentation continue from there",
        low=0,
        high=2**31 - 1,
    )
    progressive: bool = setting(
        False,
        "--progressive",
        "Small images first",
        "progressive resizing: train on images of 20, then 26 pixels in the first part of the run",
    )
    compile: bool = setting(
        False,
        "--compile",
        "Compile the network first",
        "torch.compile; takes a minute or so before the first step, meant for GPUs",
        role=Role.PLACE,
    )
    tta: bool = setting(
        False,
        "--tta",
        "Test-time augmentation at the end",
        "evaluate the last epoch (or --evaluate) with test-time augmentation as well: average over "
        "shifted views if training used crop, and mirrored views if it used flip",
    )

    def __post_init__(self):
        settings.check(self)
        if self.schedule.warmup > self.epochs:
            raise ConfigError(
                "schedule.warmup", f"{self.schedule.warmup:g} exceeds the number of epochs"
            )

    def to_dict(self) -> dict[str, Any]:
        """Nested dict of plain types, ready for JSON."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Any) -> RunConfig:
        """Inverse of to_dict. Missing keys take their defaults; unknown keys raise ConfigError."""
        return settings.build(cls, values)

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """Inverse of to_json. Raises ConfigError for any other text, however long or nested."""
        if len(text) > MAX_JSON_BYTES:
            raise ConfigError("config", f"is larger than {MAX_JSON_BYTES} bytes")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError("config", f"is not readable JSON ({type(error).__name__})") from error
        return cls.from_dict(values)

    def to_command(self, name: str | None = None, run_root: str | None = None) -> str:
        """The `train.py` command that repeats this run, without flags at their defaults.

        Quoted for the shell of this platform: sh, or cmd.exe on Windows.
        """
        words = ["python", "train.py"]
        words += ["--name", name] if name else []
        words += ["--run-root", run_root] if run_root else []
        # On the command line the default learning rate depends on the optimizer.
        usual = with_fields(RunConfig(), {"optim.lr": usual_lr(self.optim.optimizer)})
        for declared, value in settings.changed(self, usual):
            if declared.flag:
                words += _words(declared, value)
        return join_command(words)


def join_command(words: list[str]) -> str:
    """Join the words of a command, quoted for the shell of this platform."""
    return " ".join(map(_quote_cmd, words)) if os.name == "nt" else shlex.join(words)


def _quote_cmd(word: str) -> str:
    """A word quoted for cmd.exe, which takes & | < > ^ ( ) % and others for its own."""
    quoted = subprocess.list2cmdline([word])  # quotes for the program alone: spaces, tabs, ""
    if quoted == word and CMD_SPECIAL & {*word}:
        end = word[len(word.rstrip("\\")) :]  # before a quote, backslashes are doubled
        return f'"{word}{end}"'
    return quoted


SETTINGS: dict[str, Setting] = settings.settings_of(RunConfig)  # by dotted path


def with_fields(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """A validated copy with the fields at dotted paths replaced, e.g. {"optim.lr": 0.05}."""
    nested = config.to_dict()
    for path, value in values.items():
        *parents, last = path.split(".")
        target = nested
        for part in parents:
            target = target[part]
        target[last] = value
    return RunConfig.from_dict(nested)


def _words(declared: Setting, value: Any) -> list[str]:
    """Command-line arguments that set a setting to this non-default value."""
    if isinstance(value, bool):
        return [declared.flag]
    if isinstance(value, tuple):
        return [word for item in value for word in (declared.flag, str(item))]
    if str(value).startswith("-"):  # would be taken for a flag
        return [f"{declared.flag}={value}"]
    return [declared.flag, str(value)]
