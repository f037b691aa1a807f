"""One run, live: its state, its curves, and buttons to pause, stop, resume and extend it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from engine import schedules
from engine.config import RunConfig
from engine.data.progress import format_duration
from engine.errors import ConfigError, RunError
from engine.runs.diagnose import diagnose
from engine.runs.extend import extension
from engine.runs.metrics import Records
from engine.runs.run import HELD, RESUMABLE, Run, State, Status
from engine.runs.validation import seen_clause
from engine.settings import number_text
from pages.ui import charts, clean, curves, history, process, readings, refresh, undo
from pages.ui.extension import extend_form
from pages.ui.text import called, markdown, percent, time_left, without_flags
from pages.ui.what_next import Change, what_next

COLORS = {
    State.RUNNING: "blue",
    State.FINISHED: "green",
    State.FAILED: "red",
    State.DAMAGED: "red",
    State.QUEUED: "gray",
    State.WAITING: "violet",
}
TICK_S, LONG_TICK_S = 2.0, 10.0  # between two looks at a run
LONG_S = 300  # remaining time from which a run is looked at less often
RECENT_STEPS = 20  # of which the shown train accuracy is the mean
TRAIN_NOTE = (
    f"Mean of the last {RECENT_STEPS} recorded steps, on the augmented images that the network is "
    "trained on. These are harder than clean ones, so this accuracy can be lower than that "
    "on test or held-out images."
)


def panel(
    run: Run,
    close: Callable[[], None] | None = None,
    change: Change | None = None,
) -> None:
    """A run's buttons and live curves.

    close: with it, a button to close the run once it has ended. change: fills the form with the
    settings of the run, on the page that has the form.
    """
    status = readings.status_of(run)
    if status is None:
        st.info("This run was deleted.")
        return
    if close:
        replaced(run)
    buttons(run, status, close, change)
    if status.state is State.FAILED:
        failure(run, status, change)
    for sentence in run.problems():
        st.warning(markdown(sentence))
    chosen = curves.options(run, status)
    seen = (status.state, tick_of(status))
    with st.container(key="live"):
        refresh.repeat(live, seen[1])(str(run.path), seen, chosen)
    clean.accuracy(run)


def replaced(run: Run) -> None:
    """Say which run was shown before this one, which came next in the queue."""
    before, after = st.session_state.get("replaced", (None, None))
    previous = Run(run.path.with_name(before)) if after == run.name else None
    status = readings.status_of(previous) if previous else None
    if status is None:
        return
    with st.container(key="replaced", horizontal=True, vertical_alignment="center"):
        reached = f" at {percent(status.final_acc)}" if status.final_acc is not None else ""
        ended, now = markdown(called(previous)), markdown(called(run))
        st.caption(f"{ended} has ended ({status.state.value}{reached}). {now} came next.")
        st.button(f"Show {ended}", key="show_before", on_click=watch, args=(before,))


def failure(run: Run, status: Status, change: Change | None) -> None:
    """Why the run failed, and what can help; change: as of `panel`."""
    reason = without_flags(status.message or "See the run's log").rstrip(".")
    after = f"in epoch {status.epoch}" if status.step else "before the first step"
    advice = (
        "Resuming would fail again: change the settings and start a new run."
        if status.lasting
        else "Once the cause is fixed, press Resume to continue."
    )
    st.error(markdown(f"Failed {after}. {reason[0].upper()}{reason[1:]}. {advice}"))
    if change and status.lasting and (config := readings.config_of(run)):
        st.button("Change its settings", key="change", on_click=change, args=(config, "optim.lr"))


def tick_of(status: Status) -> float | None:
    """Seconds between two looks at the run; None once it has ended.

    At every tick the browser redraws the page, on a core that may be training: a long run would
    take longer if it were looked at often (bench.ui).
    """
    if status.state not in readings.LIVE:
        return None
    return LONG_TICK_S if (status.eta_seconds or 0) > LONG_S else TICK_S


def is_outdated(seen: tuple[State, float | None], status: Status) -> bool:
    """Whether the page was drawn for another state, or for a run of another length."""
    known, tick = seen
    if status.state is not known:
        return True
    if tick is None or status.eta_seconds is None:
        return False
    # Two thresholds, so that a wavering estimate does not redraw the page again and again.
    return status.eta_seconds > LONG_S if tick == TICK_S else status.eta_seconds < LONG_S / 2


def live(path: str, seen: tuple[State, float | None], chosen: curves.Options) -> None:
    """Progress, figures and curves from the run's files; a fragment rerun while the run is live."""
    run = Run(Path(path))
    status = readings.status_of(run)
    if status is None:
        st.info("This run was deleted.")
        return
    if is_outdated(seen, status):
        st.rerun()
    steps, epochs = history.compute(run, by_kind)
    progress(run, status)
    figures(status, steps, epochs)
    info = readings.dataset_info(run)
    config = readings.config_of(run)
    rising = schedules.rising_epochs(config.schedule, config.epochs) if config else 0.0
    for note in status.notes:
        st.info(markdown(f"{note[0].upper()}{note[1:].rstrip('.')}."))
    for sentence in diagnose(status, epochs, len(info["classes"]) if info else 10, rising):
        st.warning(markdown(sentence))
    begun, waiting = bool(steps or epochs), status.state in readings.LIVE
    # Keyed: it keeps its place when a warning appears above.
    with st.container(key="curves" if begun or not waiting else "curves_to_come"):
        if begun:
            curves.curves(run, chosen)
        else:
            st.caption(
                "The first point appears after the first batch."
                if waiting
                else "The run ended before the first batch."
            )


def by_kind(records: Records) -> tuple[Records, Records]:
    """(step records, epoch records)."""
    steps = [r for r in records if r["kind"] == "step"]
    return steps, [r for r in records if r["kind"] == "epoch"]


def progress(run: Run, status: Status) -> None:
    asked = run.requested() if status.state in HELD else None
    share = status.step / status.steps if status.steps else 0.0
    if asked:
        word = {"stop": "Stopping", "pause": "Pausing"}[asked]
        text = f"{word}: finishing this batch, about {max(1, round(status.batch_seconds))} s"
    elif status.state is State.RUNNING:
        elapsed = status.seconds + max(0.0, time.time() - status.updated)
        text = f"{status.phase or 'starting'} · {format_duration(elapsed)} so far"
        if status.steps:
            text = f"Epoch {status.epoch} of {status.epochs} · {text}"
        if status.eta_seconds is not None:
            text += f" · {time_left(status)}"
            text += f" · {status.images_per_s:,.0f} images/s"
    elif status.state is State.WAITING:
        text = f"Waiting for its turn, after {format_duration(status.seconds)}"
    elif status.state is State.QUEUED:
        text = "Queued"
    else:
        text = f"{status.state.capitalize()} after {format_duration(status.seconds)}"
    st.progress(min(1.0, share), text)


def figures(status: Status, steps: Records, epochs: Records) -> None:
    on = charts.validation(status.val_is_test)
    best = f"Best, epoch {status.best_epoch}" if status.best_epoch else "Best"
    chosen = "Chosen on the test images, so it is optimistic." if status.val_is_test else None
    now, highest, train, rate = st.columns(4, vertical_alignment="bottom")
    now.metric(f"Accuracy on {on}", percent(epochs[-1]["val_acc"] if epochs else None))
    highest.metric(best, percent(status.best_acc), help=chosen)
    recent = [r["acc"] for r in steps[-RECENT_STEPS:]]
    train.metric(
        "Accuracy on training images",
        percent(sum(recent) / len(recent) if recent else None),
        help=TRAIN_NOTE,
    )
    rate.metric("Learning rate", number_text(steps[-1]["lr"]) if steps else "–")
    if clause := seen_clause(status.val_seen):
        st.caption(f"Measured on {on}{clause}: the accuracy is optimistic.")
    if status.test_acc is not None:
        st.caption(f"On the test images, after the last epoch: {percent(status.test_acc)}")
    if status.tta_acc is not None:
        st.caption(f"With test-time augmentation, after the last epoch: {percent(status.tta_acc)}")


def buttons(
    run: Run, status: Status, close: Callable[[], None] | None, change: Change | None
) -> None:
    """The run's name, its state, and the buttons that fit the state; arguments as of `panel`."""
    has_weights = (run.path / "last.safetensors").is_file()
    running, damaged = status.state in HELD, status.state is State.DAMAGED
    usable = readings.config_of(run) is not None
    resumable = status.state in RESUMABLE or (damaged and usable)
    resumable = resumable and not status.lasting
    with st.container(horizontal=True, vertical_alignment="bottom"):
        title = run.title()
        st.subheader(markdown(title or run.name), anchor=False)
        if title:
            st.caption(markdown(run.name), width="content")
        st.badge(status.state.value, color=COLORS.get(status.state, "orange"))
        if running:
            st.button("Pause", key="pause", on_click=ask, args=(run, "pause"))
            st.button("Stop training", key="stop", on_click=ask, args=(run, "stop"))
        elif resumable:
            # After a failure, the same settings usually fail again.
            kind = "secondary" if status.state is State.FAILED else "primary"
            st.button("Resume", key="resume", type=kind, on_click=ask, args=(run, "resume"))
            if status.state is State.PAUSED:
                st.button("Stop training", key="stop", on_click=ask, args=(run, "stop"))
        elif status.state is State.QUEUED:
            st.button("Cancel", key="cancel", on_click=ask, args=(run, "cancel"))
        further = has_weights and not running and usable and not status.lasting
        if further and status.state is not State.FINISHED:
            train_further(run)
        if close and status.state not in readings.LIVE:
            st.button("Hide", key="close", on_click=close)
    if problem := st.session_state.pop("live_problem", None):
        st.error(problem)
    if status.state is State.FINISHED and has_weights:
        what_next(run, status, functools.partial(train_further, run), change)


def train_further(run: Run) -> None:
    """Ask for the epochs of a new run that continues this one."""
    with st.popover("Train further, as a new run", key=f"extend_run_{run.name}"):
        extend_form(run)
        st.button("Train further", key="extend", type="primary", on_click=ask, args=(run, "extend"))


def ask(run: Run, what: str) -> None:
    """Carry out a button: a method of the worker, or "extend"; a refusal becomes a message."""
    worker = process.worker()
    try:
        if what == "extend":
            start_extension(run, st.session_state["extend_epochs"])
        elif what == "cancel":
            undo.cancel([run])
        else:
            getattr(worker, what)(run)
    except (ConfigError, RunError) as error:
        st.session_state["live_problem"] = markdown(str(error))


def start_extension(run: Run, epochs: int) -> None:
    """Queue a run over `epochs` more from the last weights of `run`, and watch it."""
    config = extension(run, epochs)
    if twin := live_twin(config):  # a double click
        st.toast(f"{twin.name} already trains this run further, by the same number of epochs.")
        return
    base = f"{run.name[:60]}-more"
    name = process.submit(config, base, base).name
    st.session_state["started"] = name, config
    st.toast(f"{name} continues {run.name} for {epochs} more epoch{'s' * (epochs > 1)}.")
    watch(name, pin=False)


def watch(name: str | None, pin: bool = True) -> None:
    """Show this run on the Train page; pin: even while another run trains."""
    st.session_state["watching"], st.session_state["pinned"] = name, name if pin else None


def live_twin(config: RunConfig) -> Run | None:
    """The run that this session started last, if it has the same config and is still live."""
    name, started = st.session_state.get("started", (None, None))
    run = readings.find_run(name)
    status = readings.status_of(run) if run and started == config else None
    return run if status and status.state in readings.LIVE else None
