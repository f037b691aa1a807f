"""Export of a trained network for use elsewhere: ONNX, torch.export, or safetensors.

The first two hold the whole computation: uint8 images [N, 3, 32, 32] to probabilities, float32
[N, classes], normalization and softmax included; N is free. The probabilities are calibrated by the
temperature that is stored for the weights, if there is one. Each export is written to a folder of
its own in the run's folder, beside a short program that classifies a picture with it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.config import RunConfig
from engine.device import resolve
from engine.errors import RunError
from engine.export import programs
from engine.files import reason
from engine.predict import Network, load_network
from engine.runs import temperature
from engine.runs.checkpoint import save_weights
from engine.runs.run import Run, State

INPUT, OUTPUT = "images", "probabilities"
OPTIONAL = "pip install -r requirements-export.txt"
OPSET = 20
EXAMPLE = 2  # images of the trace; torch.export takes a batch of 1 for a constant


class Classifier(nn.Module):
    """Normalization, network, temperature and softmax in one."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = without_instance_norm(network.model)
        scale = torch.tensor(network.std).mul(255).reciprocal()
        offset = torch.tensor(network.mean) / torch.tensor(network.std)
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("offset", offset.view(1, -1, 1, 1))
        self.temperature = temperature.read(network.weights) or 1.0

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, 32, 32] to float32 [N, classes]."""
        logits = self.network(images.float() * self.scale - self.offset)
        return (logits / self.temperature).softmax(1)


def without_instance_norm(model: nn.Module) -> nn.Module:
    """Replace instance norms, in place, by group norms that compute the same.

    torch.export takes the number of images for a constant in an instance norm.
    """
    for parent in list(model.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.InstanceNorm2d):
                channels = module.num_features
                same = nn.GroupNorm(channels, channels, module.eps, affine=module.affine)
                same.load_state_dict(module.state_dict())
                setattr(parent, name, same)
    return model


def export(weights: Path, kind: str) -> Path:
    """Write a network to `export/<kind>/` in its run's folder, and return that folder.

    weights: a run's folder (its last weights) or a weights file in one. kind: a key of FORMATS. An
    earlier export is replaced once the new files are whole. Raises ValueError for an unknown kind,
    CheckpointError or RunError.
    """
    if kind not in FORMATS:
        raise ValueError(f"unknown format {kind!r}; known: {', '.join(FORMATS)}")
    network = load_network(weights, resolve("cpu", "fp32"), "plain")
    folder = network.weights.parent / "export" / kind
    try:
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
            made = Path(temporary, kind)
            made.mkdir()
            write, program = FORMATS[kind]
            write(network, made)
            (made / "use.py").write_text(program, encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    except OSError as error:
        raise RunError(f"{folder.name} cannot be exported: {reason(error)}") from error
    return folder


def is_outdated(weights: Path, kind: str) -> bool:
    """Whether a weights file or its temperature changed after its export. False without an export.

    kind: a key of FORMATS.
    """
    try:
        made = (weights.parent / "export" / kind / f"model.{kind}").stat().st_mtime_ns
    except OSError:
        return False
    for source in (weights, temperature.path_of(weights)):
        with contextlib.suppress(OSError):
            if source.stat().st_mtime_ns > made:
                return True
    return False


def to_safetensors(network: Network, folder: Path) -> None:
    """Weights in fp32 with a header: architecture, classes, mean, std, temperature, accuracy."""
    header = describe(network)
    save_weights(folder / "model.safetensors", network.model.state_dict(), header)


def to_pt2(network: Network, folder: Path) -> None:
    """torch.export, which loads with torch alone."""
    program = torch.export.export(Classifier(network).eval(), (_example(),), dynamic_shapes=_free())
    about = {"about.json": json.dumps(describe(network))}
    torch.export.save(program, folder / "model.pt2", extra_files=about)


def to_onnx(network: Network, folder: Path) -> None:
    """ONNX, with the names of the classes in its metadata. Raises RunError without the packages."""
    try:
        import onnx  # noqa: PLC0415 optional
        import onnxscript  # noqa: F401, PLC0415 torch.onnx needs it
    except ImportError as error:
        raise RunError(f"ONNX needs the package {error.name}: run `{OPTIONAL}`") from None
    program = torch.onnx.export(
        Classifier(network).eval(),
        (_example(),),
        dynamo=True,
        dynamic_shapes=_free(),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        verbose=False,
    )
    model = program.model_proto
    for key, value in describe(network).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, folder / "model.onnx")


def describe(network: Network) -> dict[str, str]:
    """Header of an exported file: all values as text.

    "temperature", by which the logits are divided, is left out for a network without calibration.
    """
    config: RunConfig = network.config
    status = Run(network.weights.parent).status()
    about = {
        "architecture": json.dumps(config.model.arguments),
        "classes": json.dumps(network.classes),
        "mean": json.dumps(network.mean),
        "std": json.dumps(network.std),
        "fit": config.data.fit,
    }
    if (value := temperature.read(network.weights)) is not None:
        about["temperature"] = json.dumps(value)
    # Amid an epoch the last weights are newer than those that were validated.
    validated = status.state is State.FINISHED and status.final_acc is not None
    if network.weights.stem == "last" and validated:
        tested = status.final_acc if status.val_is_test else status.test_acc
        images = "held-out" if tested is None else "test"
        about["accuracy"] = f"{tested or status.final_acc:.4f} on {images} images"
    return about


def _example() -> Tensor:
    return torch.zeros(EXAMPLE, 3, 32, 32, dtype=torch.uint8)


def _free() -> dict[str, dict[int, object]]:
    return {INPUT: {0: torch.export.Dim("batch")}}


# What writes a format, and the program beside it.
FORMATS: dict[str, tuple[Callable[[Network, Path], None], str]] = {
    "onnx": (to_onnx, programs.ONNX),
    "pt2": (to_pt2, programs.PT2),
    "safetensors": (to_safetensors, programs.SAFETENSORS),
}
