"""torch.compile for training, tried on every input shape before the first step."""

from __future__ import annotations

import torch
from torch import nn

from engine.device import Compute
from engine.training import progressive
from engine.training.step import Setup

REASON_CHARS = 200


def input_shapes(setup: Setup) -> list[tuple[int, int]]:
    """(batch size, image size) of every input that this process's model will get, sorted."""
    count, *_, full = setup.splits.train_images.shape
    batch_size = min(count, setup.config.batch_size)
    sizes = progressive.sizes(full) if setup.config.progressive else [full]
    shapes = set()
    for images in {batch_size, count % batch_size or batch_size}:  # the last batch of an epoch
        shard, _ = setup.group.shard(images)
        shapes |= {(len(range(images)[shard]), size) for size in sizes}
    return sorted(shapes)


def attempt(
    model: nn.Module, shapes: list[tuple[int, int]], compute: Compute
) -> tuple[nn.Module, str]:
    """(compiled model, ""), or (model, reason in one line) if compilation fails.

    Compiles forward and backward for each of `shapes`, (batch size, image size), without dynamic
    shapes: the code for a shape must not depend on the shapes before it, or a resumed run would
    differ. The model's state is left unchanged.
    """
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        torch.compiler.reset()  # earlier models of this process count towards the recompile limit
        compiled = torch.compile(model, dynamic=False)
        for images, size in shapes:
            inputs = torch.zeros(images, 3, size, size, device=compute.device)
            inputs = inputs.contiguous(memory_format=compute.memory_format)
            with compute.autocast():
                loss = compiled(inputs).float().sum()
            loss.backward()
    except Exception as error:  # the compiler is missing, too old, or fails
        reason = " ".join(str(error).split())[:REASON_CHARS] or type(error).__name__
        return model, f"torch.compile failed, training continues without it: {reason}"
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
        model.zero_grad(set_to_none=True)
    return compiled, ""
