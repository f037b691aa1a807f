"""How far the runs of a study are, and when they will be done. Pure: no `st.` call."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from engine.runs.run import HELD, RESUMABLE, State, Status


@dataclass(frozen=True)
class Member:
    """A planned run of a study: its value, and its status once it exists."""

    name: str
    value: str
    seed: int
    status: Status | None
    left: bool = False  # queued, but not by this server: perhaps by one that was killed

    @property
    def share(self) -> float:
        """Fraction of the run that is done, from 0 to 1."""
        if self.status is None:
            return 0.0
        if self.status.state is State.FINISHED:
            return 1.0
        return min(1.0, self.status.step / self.status.steps) if self.status.steps else 0.0

    @property
    def total_seconds(self) -> float | None:
        """Expected training time of the whole run; None before its first steps."""
        if not self.share or not self.status.seconds:
            return None
        return self.status.seconds / self.share


def state(members: Iterable[Member]) -> State:
    """The state of a study: that of the run that is furthest from its end."""
    states = [_state(member) for member in members]
    if any(each in HELD for each in states):
        return State.RUNNING
    for wanted in (State.QUEUED, State.PAUSED, State.INTERRUPTED, State.STOPPED):
        if wanted in states:
            return wanted
    return State.FINISHED


def resumable(members: Iterable[Member]) -> bool:
    """Whether a run of the study is missing, or could go on."""
    return any(_state(member) in RESUMABLE for member in members)


def _state(member: Member) -> State:
    if member.status is None:
        return State.STOPPED
    return State.INTERRUPTED if member.left else member.status.state


def share(members: list[Member]) -> float:
    """Fraction of all runs that is done; a run that has failed counts as done."""
    done = [1.0 if m.status and m.status.state is State.FAILED else m.share for m in members]
    return sum(done) / len(done)


def seconds_left(members: list[Member]) -> float | None:
    """Expected time until all runs are done; None before the first steps of any.

    A run that has not begun takes as long as others of its value, or else as the mean of all.
    """
    known: dict[str, list[float]] = {}
    for member in members:
        if total := member.total_seconds:
            known.setdefault(member.value, []).append(total)
    if not known:
        return None
    by_value = {value: statistics.fmean(totals) for value, totals in known.items()}
    mean = statistics.fmean(by_value.values())
    failed = (State.FAILED, State.DAMAGED)
    return sum(
        (1 - member.share) * (member.total_seconds or by_value.get(member.value, mean))
        for member in members
        if not (member.status and member.status.state in failed)
    )


def counts(members: Iterable[Member]) -> str:
    """Numbers of runs by state, such as "3 finished, 1 running, 2 waiting"."""
    found: dict[str, int] = {}
    for member in members:
        word = member.status.state.value if member.status else "not started"
        found[word] = found.get(word, 0) + 1
    return ", ".join(f"{number} {word}" for word, number in found.items())
