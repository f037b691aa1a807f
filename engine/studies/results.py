"""Records that a verdict is made from, and what it consists of.

Accuracies of outcomes are fractions; those of a verdict are in percent, differences in points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.studies import statistics

ENDED = ("finished", "failed")  # states of a run after which no result is to be expected
MIN_WELCH = 5  # seeds from which Welch's test stands beside the pooled one


@dataclass(frozen=True)
class Outcome:
    """The end of one run of a study, or its state so far."""

    value: str  # of the factor
    seed: int
    accuracy: float | None  # of the last epoch, a fraction; None while not finished
    chance: float  # accuracy of guessing, a fraction
    n_images: int  # that the accuracy was measured on; 0 while there is none
    state: str  # of the run, such as "finished"
    confounds: tuple[str, ...] = ()  # differences from its study other than value and seed
    block: str = ""  # the machine and its precision; with the seed, the run's block
    data: str = ""  # digits that tell data sets apart by their contents; "": not known

    @property
    def finished(self) -> bool:
        return self.state == "finished" and self.accuracy is not None

    @property
    def collapsed(self) -> bool:
        """Whether the network ended no better than guessing."""
        return self.finished and statistics.at_chance(self.accuracy, self.chance, self.n_images)

    @property
    def counts(self) -> bool:
        """Whether the run takes part in means and differences."""
        return self.finished and not self.confounds and not self.collapsed


@dataclass(frozen=True)
class ValueResult:
    """Runs of one value; accuracies in percent."""

    value: str
    n: int  # runs in the mean
    mean: float | None
    sd: float | None  # between seeds of one machine, in points; None below two runs
    collapsed: int  # runs that ended at chance, not in the mean
    left_out: tuple[str, ...]  # "seed 2: failed"
    wilson: tuple[float, float] | None  # 95 % over other test images, of one network; if n = 1


@dataclass(frozen=True)
class Progress:
    """The runs that there are, against the planned ones."""

    planned: int  # runs: every value with every planned seed
    ended: int  # of the planned ones, finished or failed, on whichever machine
    finished: int
    added: tuple[int, ...]  # seeds with results that were added to the study
    imported: tuple[int, ...]  # seeds with results that the study does not have
    machines: tuple[tuple[str, int], ...]  # with results, and the number of seeds on each


@dataclass(frozen=True)
class ContrastResult:
    """The difference value − reference, in points, with its simultaneous 95 % interval."""

    value: str
    reference: str
    difference: float | None  # None without runs to compare
    low: float | None
    high: float | None
    p: float | None  # adjusted for all contrasts, of the test that gives the interval
    decision: str  # "different", "not shown", "same within margin" or "cannot tell"
    test: str  # "Dunnett", "Tukey", "Welch" or ""
    welch: tuple[float, float] | None = None  # Welch's interval, from 5 seeds on
    seeds_needed: tuple[int, int] | None = None  # range, to tell `resolution` points apart
    resolution: float | None = None
    sentence: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the runs of a study say, with its uncertainty."""

    values: tuple[ValueResult, ...]
    contrasts: tuple[ContrastResult, ...]
    headline: tuple[str, ...]
    notes: tuple[str, ...]
    progress: Progress
    method: str
    sd: float | None  # pooled, of the residuals, in points
    df: int  # degrees of freedom of sd
    spread_more: tuple[str, ...] | None  # values that may spread more; None below 5 seeds
    correlation: float | None  # mean, between values over seeds; None below three seeds
    fitted: tuple[str, ...]  # values of the fit, those with runs that count
    fit: statistics.BlockFit | None = field(repr=False, compare=False)

    @property
    def interim(self) -> bool:
        """Whether planned runs are still missing."""
        return not self.progress.planned or self.progress.ended < self.progress.planned
