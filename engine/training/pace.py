"""Speed of training and time left, estimated from measured times.

Costs are in full-size training images: an image of half the side length costs a quarter.
"""

from __future__ import annotations

import math

MIN_MEMORY_S = 10.0  # minimum time constant of the moving average over steps
MEMORY_SHARE = 0.25  # its time constant relative to the time trained so far
EVALUATION_COST = 1 / 3  # cost of an evaluated image: the forward pass without the backward
SETTLED_SHARE = 0.1  # fraction of the steps after which the time left is a reliable estimate


class Pace:
    """Moving averages of the speed of training steps and of the overhead per epoch.

    Recent steps weigh more. The overhead of an epoch is the time between its steps, for validation
    and checkpoints; until the first epoch has ended, it is estimated from the number of evaluated
    images. evaluated: number of images evaluated after each epoch.
    """

    def __init__(self, evaluated: int):
        self.evaluated = evaluated
        self._cost = self._seconds = 0.0  # of training steps, exponentially weighted
        self._trained = 0.0  # seconds of training steps, unweighted
        self._readings = 0
        self._overhead: float | None = None  # seconds per epoch, averaged over past epochs
        self._spent = 0.0  # overhead of the current epoch so far, in seconds

    def add_steps(self, cost: float, seconds: float) -> None:
        """Add steps of this total cost that took `seconds`."""
        self._readings += 1
        if self._readings == 2:  # the first steps also allocate memory and choose kernels
            self._cost = self._seconds = 0.0
        self._trained += seconds
        kept = math.exp(-seconds / max(MIN_MEMORY_S, MEMORY_SHARE * self._trained))
        self._cost = self._cost * kept + cost
        self._seconds = self._seconds * kept + seconds

    def add_overhead(self, seconds: float) -> None:
        """Add time between steps. Time before the first step is ignored."""
        if self._readings:
            self._spent += seconds

    def end_epoch(self) -> None:
        """Average the overhead of the epoch that ends with that of the epochs before."""
        before = self._spent if self._overhead is None else self._overhead
        self._overhead, self._spent = (before + self._spent) / 2, 0.0

    @property
    def cost_per_s(self) -> float:
        """Speed in full-size training images per second; 0 before the first steps."""
        return self._cost / self._seconds if self._seconds else 0.0

    def seconds_left(
        self, cost: float, epochs: int, waited: float = 0.0, evaluated: int = 0
    ) -> float | None:
        """Seconds for steps of this cost and the overhead of `epochs` epochs, the current included.

        waited: seconds of the current epoch's overhead not yet added. evaluated: number of images
        evaluated once, at the end. Returns None before the first steps.
        """
        if not self.cost_per_s:
            return None
        evaluation = EVALUATION_COST / self.cost_per_s  # seconds per image
        overhead = self._overhead
        if overhead is None:
            overhead = self.evaluated * evaluation
        present = max(0.0, overhead - self._spent - waited) if epochs else 0.0
        steps = cost / self.cost_per_s
        return steps + present + max(0, epochs - 1) * overhead + evaluated * evaluation
