"""Parameters, multiply-accumulates and memory of a network, computed on the meta device."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from engine.errors import ConfigError
from engine.models import build_on_meta
from engine.models.whitening import Whitening

HELD_BYTES = 3 * 4  # per parameter: weights, gradients and momentum, in fp32


@dataclass(frozen=True)
class LayerRow:
    """One layer without submodules."""

    name: str  # dotted path in the network
    kind: str  # class name
    output_shape: tuple[int, ...]  # of one image, without the batch dimension
    parameters: int
    macs: int  # multiply-accumulates for one image


@dataclass(frozen=True)
class ModelSummary:
    """Costs of a network; `layers` are in the order of the forward pass."""

    parameters: int
    macs: int  # multiply-accumulates of convolutions and linear layers, for one image
    activation_bytes: int  # saved by autograd for the backward pass of one batch, in fp32
    layers: tuple[LayerRow, ...]


def count_parameters(
    arch: str,
    num_classes: int = 10,
    activation: str | None = None,
    norm: str | None = None,
    width: float = 1.0,
    whitening: bool = False,
) -> int:
    """Number of parameters of `build_model(...)`, without allocating it. Raises the same errors."""
    model = build_on_meta(arch, num_classes, activation, norm, width, whitening)
    return sum(p.numel() for p in model.parameters())


def check_memory(parameters: int, available: int | None) -> None:
    """Raises ConfigError if weights, gradients and momentum alone exceed the available bytes."""
    held = HELD_BYTES * parameters
    if available is not None and held > available:
        raise ConfigError(
            "model.width",
            f"training needs {held / 1e9:,.0f} GB for {parameters / 1e9:,.1f} billion parameters; "
            f"this machine has {available / 1e9:,.0f} GB; use a smaller width or architecture",
        )


def summarize(model: nn.Module, batch_size: int = 128, image_size: int = 32) -> ModelSummary:
    """Costs of training `model` on (batch_size, 3, image_size, image_size) fp32 images.

    Runs one forward pass of a copy on the meta device; neither `model` nor the global random state
    is changed. The memory is that of PyTorch's standard layers, without weights and convolution
    workspaces; engine.fast and autocast may need less.
    """
    shadow = _on_meta(model).train()
    rows: list[LayerRow] = []
    for name, module in shadow.named_modules():
        if not any(module.children()):
            module.register_forward_hook(
                lambda m, _, out, name=name: rows.append(_row(name, m, out))
            )

    owned = {id(t.untyped_storage()) for t in [*shadow.parameters(), *shadow.buffers()]}
    kept: dict[
        int, torch.UntypedStorage
    ] = {}  # by id, which stays unique while the storage is held

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in owned:
            kept[id(storage)] = storage
        return tensor

    images = torch.empty(batch_size, 3, image_size, image_size, device="meta")
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        shadow(images)
    return ModelSummary(
        parameters=sum(p.numel() for p in shadow.parameters()),
        macs=sum(row.macs for row in rows),
        activation_bytes=sum(storage.nbytes() for storage in kept.values()),
        layers=tuple(rows),
    )


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy of `model` in fp32 on the meta device, made without copying its weights."""
    memo = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        shape = torch.empty_like(tensor, device="meta", dtype=dtype)
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(shape, tensor.requires_grad) if is_parameter else shape
    return copy.deepcopy(model, memo)


def _row(name: str, module: nn.Module, output: torch.Tensor) -> LayerRow:
    # torch.utils.flop_counter registers hooks on every module of the process, so it would also
    # count a network that is training in another thread. The tests compare the two.
    macs = 0
    if isinstance(module, nn.Conv2d | Whitening):
        macs = module.weight.numel() * output.shape[2] * output.shape[3]
    elif isinstance(module, nn.Linear):
        macs = module.weight.numel()
    return LayerRow(
        name=name,
        kind=type(module).__name__,
        output_shape=tuple(output.shape[1:]),
        parameters=sum(p.numel() for p in module.parameters()),
        macs=macs,
    )
