"""Fair rates: each value of a study at its own best learning rate. Pure.

One rate for all favours the value that it suits. A search before the study therefore trains every
value with three rates. It is a study of its own, a grid of the factor and the rates, whose runs are
validated on held-out training images and have a seed that the study does not use: neither the test
images nor the runs of the verdict take part in the choice.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from engine.errors import StudyError
from engine.recipe import OptimConfig
from engine.studies.results import Outcome
from engine.studies.study import CROSS, Factor, Study, Value

RATE = "optim.lr"
TIMES = (1 / 3, 1.0, 3.0)  # the base's learning rate, times these
SHARE = 0.1  # of the training images, held out in the search
FIRST_SEED = 1_000_000  # of the search: far from the seeds that are planned or added


def missing(study: Study) -> bool:
    """Whether the rates of a study are still to be chosen."""
    return study.fair_rates and any(RATE not in row.settings for row in study.rows())


def trainings(study: Study) -> int:
    """Trainings of each value: one for each seed, and those of the search."""
    return len(study.all_seeds()) + len(TIMES) * missing(study)


def search(study: Study, images: int) -> Study:
    """The study that chooses the rates; images: number of training images of the data set."""
    factor, lr = study.factors[0], study.base.get(RATE, OptimConfig.lr)
    values = tuple(
        Value(value.name, {path: v for path, v in value.settings.items() if path != RATE})
        for value in factor.values
    )
    rates = tuple(
        Value(f"lr {lr * times:.3g}", {RATE: float(f"{lr * times:.3g}")}) for times in TIMES
    )
    used = study.all_seeds()
    return Study(
        name=f"{study.name[:60]}-rates",
        question=f"Which learning rate suits each value of {study.name}?",
        factors=(Factor(factor.name, values), Factor("Learning rate", rates)),
        base={**study.base, "data.holdout": max(1, round(SHARE * images))},
        baseline=f"{values[0].name}{CROSS}{rates[TIMES.index(1.0)].name}",
        seeds=(next(seed for seed in itertools.count(FIRST_SEED) if seed not in used),),
        race=study.race,
    )


def fair(study: Study, searched: Study, outcomes: Sequence[Outcome]) -> Study:
    """The study with each value at the rate that was best for it; of equal ones the smallest.

    outcomes: of the search. Raises StudyError if a value has no finished run among them.
    """
    found = {outcome.value: outcome.accuracy for outcome in outcomes if outcome.finished}
    factor, values = study.factors[0], []
    for value in factor.values:
        options = [
            (found[name], rate.settings)
            for rate in searched.factors[1].values
            if (name := f"{value.name}{CROSS}{rate.name}") in found
        ]
        if not options:
            raise StudyError(
                f"{value.name} has no finished run in {searched.name}; the Runs page says why"
            )
        best = max(options, key=lambda option: option[0])[1]
        values.append(dataclasses.replace(value, settings={**value.settings, **best}))
    return dataclasses.replace(study, factors=(Factor(factor.name, tuple(values)),))


def sentence(study: Study) -> str:
    """What was chosen."""
    rates = ", ".join(f"{row.name} {row.settings[RATE]:.3g}" for row in study.rows())
    return (
        f"Each value has its own learning rate ({rates}), the best of three on held-out images "
        "with a seed that the verdict does not use."
    )
