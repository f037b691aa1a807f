"""Exponential moving average (EMA) of a model's weights, often more accurate than the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average over steps of every floating-point parameter and buffer of `model`.

    Polyak and Juditsky 1992, with exponential weights: average = decay·average +
    (1 - decay)·weights, decay 0 to below 1. It warms up: after n steps the decay is at most
    (1 + n) / (10 + n), so that the random initialization is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay, self.steps = model, decay, 0
        self.values = {k: v.detach().clone() for k, v in self._current().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the model's current weights to the average."""
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(self.values.values()), list(self._current().values()), weight)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Context manager in which the model holds the averaged weights instead of its own."""
        own = {key: value.detach().clone() for key, value in self._current().items()}
        self._load(self.values)
        try:
            yield
        finally:
            self._load(own)

    def weights(self) -> dict[str, Tensor]:
        """State dict of the averaged model; integer buffers (counters) are the model's own."""
        return {**self.model.state_dict(), **self.values}

    def state_dict(self) -> dict[str, object]:
        return {"values": self.values, "steps": self.steps}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.steps = state["steps"]
        for key, value in self.values.items():
            value.copy_(state["values"][key])

    @torch.no_grad()
    def _load(self, values: dict[str, Tensor]) -> None:
        torch._foreach_copy_(list(self._current().values()), list(values.values()))

    def _current(self) -> dict[str, Tensor]:
        state = self.model.state_dict()
        return {key: value for key, value in state.items() if value.is_floating_point()}
