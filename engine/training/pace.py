"""Pace of a training: its speed and the time left, from the time that its parts have taken.

Costs are counted in training images of full size: one of half the side costs a quarter.
"""

from __future__ import annotations

import math

MIN_MEMORY_S = 10.0  # seconds over which recent steps are averaged, at least …
MEMORY_SHARE = 0.25  # … and as a share of the time trained so far
EVALUATION_COST = 1 / 3  # of an evaluated image: the forward pass without the backward
SETTLED_SHARE = 0.1  # of the run's steps, after which the time left is more than a first guess


class Pace:
    """Averages of the speed of training steps and of the overhead of an epoch.

    Recent steps weigh more. The overhead of an epoch is the time between its steps, for validation
    and checkpoints; before the first epoch has ended it is guessed from the number of images that
    are evaluated. evaluated: images evaluated after each epoch.
    """

    def __init__(self, evaluated: int):
        self.evaluated = evaluated
        self._cost = self._seconds = 0.0  # of training, exponentially weighted
        self._trained = 0.0  # seconds, unweighted
        self._readings = 0
        self._overhead: float | None = None  # seconds of an epoch, averaged over past epochs
        self._spent = 0.0  # of the present epoch's overhead

    def add_steps(self, cost: float, seconds: float) -> None:
        """Count steps of this cost that took so many seconds."""
        self._readings += 1
        if self._readings == 2:  # the first steps also allocate memory and choose kernels
            self._cost = self._seconds = 0.0
        self._trained += seconds
        kept = math.exp(-seconds / max(MIN_MEMORY_S, MEMORY_SHARE * self._trained))
        self._cost = self._cost * kept + cost
        self._seconds = self._seconds * kept + seconds

    def add_overhead(self, seconds: float) -> None:
        """Count time between steps. That before the first step is no epoch's."""
        if self._readings:
            self._spent += seconds

    def end_epoch(self) -> None:
        """Average the overhead of the epoch that ends into that of those before."""
        before = self._spent if self._overhead is None else self._overhead
        self._overhead, self._spent = (before + self._spent) / 2, 0.0

    @property
    def cost_per_s(self) -> float:
        """Training images of full size per second; 0 before the first steps."""
        return self._cost / self._seconds if self._seconds else 0.0

    def seconds_left(
        self, cost: float, epochs: int, waited: float = 0.0, evaluated: int = 0
    ) -> float | None:
        """Seconds for steps of this cost and for the overhead of so many epochs, with the present.

        waited: seconds of the present epoch's overhead that were not counted yet. evaluated: images
        evaluated once, at the end. None before the first steps.
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
