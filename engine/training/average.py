"""An exponential moving average of a network's weights, which often scores better than they do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages every floating-point weight and buffer of `model` after each step.

    Polyak and Juditsky 1992, with exponential weights: average = decay·average +
    (1 - decay)·weights. The first steps count more, with a decay of (1 + n) / (10 + n) after n
    steps while that is smaller, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay, self.steps = model, decay, 0
        self.values = {k: v.detach().clone() for k, v in self._current().items()}

    @torch.no_grad()
    def update(self) -> None:
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(self.values.values()), list(self._current().values()), share)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own again afterwards."""
        own = {key: value.detach().clone() for key, value in self._current().items()}
        self._load(self.values)
        try:
            yield
        finally:
            self._load(own)

    def weights(self) -> dict[str, Tensor]:
        """A state_dict with the averages; what is not averaged (counters) is the model's own."""
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
