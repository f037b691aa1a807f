"""torch.compile for a training, tried out before it is relied on."""

from __future__ import annotations

import torch
from torch import nn

from engine.device import Compute

REASON_CHARS = 200


def attempt(
    model: nn.Module, shapes: list[tuple[int, int]], compute: Compute
) -> tuple[nn.Module, str]:
    """The compiled network and "", or the network as it is and in one line why it is not compiled.

    Compiles forward and backward for every one of `shapes` that the run will see (images, pixels a
    side), each for itself: what one of them is computed by must not depend on which came before,
    or a resumed run would differ. The network is left unchanged.
    """
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        torch.compiler.reset()  # earlier networks of this process count towards a limit
        compiled = torch.compile(model, dynamic=False)
        for images, size in shapes:
            inputs = torch.zeros(images, 3, size, size, device=compute.device)
            inputs = inputs.contiguous(memory_format=compute.memory_format)
            with compute.autocast():
                loss = compiled(inputs).float().sum()
            loss.backward()
    except Exception as error:  # a compiler that is absent, too old, or fails, in its own words
        reason = " ".join(str(error).split())[:REASON_CHARS] or type(error).__name__
        return model, f"not compiled, trains all the same: {reason}"
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
        model.zero_grad(set_to_none=True)
    return compiled, ""
