"""The box that starts a run: its expected time, the button, and its name."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import streamlit as st

from engine import data
from engine.config import RunConfig
from engine.data.progress import format_duration
from engine.errors import ConfigError, DataError, RunError
from engine.runs.compare import same_but_seed
from engine.runs.folder import suggest_name
from engine.runs.run import NOTE_CHARS, TITLE_CHARS, Run, State
from engine.settings import get_field
from pages.ui import choices, folders, live, process, readings, refresh
from pages.ui.choices import VARIED
from pages.ui.text import called, command, in_full, markdown, percent, plain
from pages.ui.train.controls import keep

SKIP = """<a class="skip_to_start" href="#start">Skip to Start training</a>
<script>
document.querySelector(".skip_to_start").onclick = event => {
  event.preventDefault();
  document.querySelector(".st-key-start_bar button")?.focus();
};
</script>"""
AWAIT_S = 2.0  # from one look for the machine's speed to the next
LONG_S = 3600.0  # a run that takes longer asks first
TWINS = {  # what is said of a run with the form's settings, by its state
    State.FINISHED: "An identical run exists:",
    State.RUNNING: "A run with the same settings is training:",
    State.WAITING: "A run with the same settings is training:",
    State.QUEUED: "A run with the same settings is in the queue:",
    State.PAUSED: "A run with the same settings is paused:",
}


def skip_link() -> None:
    """A link, visible while it has the focus, from the start of the form to Start."""
    st.html(SKIP, unsafe_allow_javascript=True)


def start_box(
    config: RunConfig,
    statuses: refresh.Pairs,
    ready: bool = True,
    own: readings.OwnImages | None = None,
) -> None:
    """What the run will take and the button, which stay in sight; below them its name.

    ready: whether its images have been read. Until then it cannot start, but it can be named.
    own: the user's own images, if it trains on them.
    """
    form, suggested = st.session_state, suggest_name(folders.RUN_ROOT, config)
    if not form.get("run_name"):  # emptied, or not kept while the box was off screen
        form["name_edited"] = False
    if not form.get("name_edited") and form.get("run_name") != suggested:
        form["name_before"], form["run_name"] = form.get("run_name"), suggested
    if ready:
        start_bar(config, suggested)
        identical_run(config, statuses, own.info if own else None)
    else:
        unready()
    st.text_input("Name", key="run_name", on_change=name_edited, max_chars=80, **keep())
    with st.expander("Title and note", key="note_box"):
        st.text_input(
            "Title",
            key="run_title",
            max_chars=TITLE_CHARS,
            placeholder="Shown beside the run's name",
            **keep(),
        )
        st.text_area(
            "Note",
            key="run_note",
            max_chars=NOTE_CHARS,
            placeholder="What you want to find out with this run; shown on the Runs page",
            **keep(),
        )


def identical_run(config: RunConfig, statuses: refresh.Pairs, info: dict[str, Any] | None) -> None:
    """Say so if a run that ended or will has these settings and images: another would end the same.

    info: of the user's own images; None for built-in data sets, which their name identifies.
    """
    for run, status in statuses:
        known = readings.config_of(run) if status.state in TWINS else None
        if known is None or known.seed != config.seed:
            continue
        if same_but_seed([config, known], [info, readings.dataset_info(run)]):
            with st.container(key="identical"):
                result = f", {percent(status.final_acc)}" if status.final_acc is not None else ""
                st.info(
                    f"{TWINS[status.state]} **{markdown(in_full(run))}**{result}. "
                    "Another one would give the same result; change the seed to see how much "
                    "results vary."
                )
                st.page_link(
                    "pages/2_Runs.py",
                    label=f"Open {markdown(called(run))}",
                    query_params={"run": run.name},
                )
            return


def unready() -> None:
    """The button before a run can start."""
    with st.container(key="start_bar"):
        st.button("Start training", key="start", type="primary", disabled=True, width="stretch")


def start_bar(config: RunConfig, suggested: str) -> None:
    """The expected time and the button, which the style sheet keeps in sight; notes about them."""
    with st.container(key="start_bar"):
        with st.container(key="estimate"):
            seconds = process.epoch_seconds(config)
            total = seconds * config.epochs if seconds is not None else None
            if total is None:
                await_estimate(config)
            else:
                st.write(f"About **{format_duration(total)}** on this machine")
        start_button(config, suggested, total)
        if problem := st.session_state.pop("start_problem", None):
            st.error(problem)
    with st.container(key="start_notes"):
        if seconds is not None:
            epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
            where = process.compute_text(config.precision)
            each = format_duration(seconds) if seconds >= 1 else "less than 1 s"
            st.caption(f"{epochs} of {each} · {where}")
        if not process.worker().idle:
            st.caption("Another run is training; this one starts after it.")
            if is_ending():
                refresh.repeat(await_idle, AWAIT_S)()
        dataset = config.data.dataset
        if dataset in data.DATASETS and not data.is_available(dataset, folders.DATA_ROOT):
            title = data.DATASETS[dataset].title
            st.info(f"{title} is not downloaded yet: the run will download it first.")
            st.page_link("app.py", label="Download it on Home")


def more_ways(config: RunConfig) -> None:
    """The run as a command and as a link, and the way to a study of several runs."""
    name = st.session_state["run_name"]
    with st.expander("Copy as command, or as a link", key="command_and_link"):
        st.code(command(config, name), language="bash", wrap_lines=True)
        address = urlsplit(st.context.url or "http://localhost:8501/Train")
        link = f"{address.scheme}://{address.netloc}{address.path}?choices={quote(choices.encode(config))}"
        st.code(link, language=None, wrap_lines=True)
    try_several(config)


def try_several(config: RunConfig) -> None:
    """Ask for a setting to vary; the choice opens one's own study of it, based on the form."""
    used = [
        p
        for p, s in VARIED.items()
        if not s.when or get_field(config, s.when.path) in s.when.values
    ]
    path = st.selectbox(
        "Try several values of",
        used,
        index=None,
        key="vary_setting",
        format_func=lambda path: VARIED[path].label,
        placeholder="Choose a setting",
        help="Opens a study: this form's network, trained once with each value and seed.",
    )
    if path:
        address = {"vary": path, "choices": choices.encode(config)}
        st.switch_page("pages/3_Studies.py", query_params=address)


def start_button(config: RunConfig, suggested: str, total: float | None) -> None:
    """The button, which asks first if the run is expected to take long."""
    busy = not process.worker().idle
    label, key = ("Add to queue", "queue") if busy else ("Start training", "start")
    if total and total > LONG_S:
        # One key: it stays open.
        with st.popover(label, key="start", type="primary", width="stretch"):
            st.write(
                f"This takes about **{format_duration(total)}** on this machine. "
                "It can be paused and resumed."
            )
            st.button("Start anyway", key="start_anyway", on_click=start, args=(config, suggested))
    else:
        how = {"type": "primary", "width": "stretch"}
        st.button(label, key=key, on_click=start, args=(config, suggested), **how)


def is_ending() -> bool:
    """Whether the worker is about to leave a run that its files already show as ended."""
    run = process.worker().current
    status = readings.status_of(run) if run else None
    return status is not None and status.state not in readings.LIVE


def await_idle() -> None:
    """Rerun the page, which offers the queue only, once a run would start at once."""
    if process.worker().idle:
        st.rerun()


def await_estimate(config: RunConfig) -> None:
    """Measure this machine's speed, and say that the time is not known yet."""
    process.measure_speed(config)
    every = AWAIT_S if process.worker().current is None else refresh.WATCHING_S
    refresh.repeat(await_speed, every)(config)


def await_speed(config: RunConfig) -> None:
    """Rerun the page once this machine's speed is known."""
    if process.epoch_seconds(config) is not None:
        st.rerun()
    if process.worker().current is None:
        st.caption("Measuring the speed of this machine…")
    else:
        st.caption("The time is estimated once no other run is training.")


def start(config: RunConfig, suggested: str) -> None:
    """Submit the form; submitting the same form twice gives one run.

    A click may arrive before the page was redrawn for the last change. So the form counts, not the
    `config` that the button was drawn with, and the name box may still hold an older suggestion.
    """
    form = st.session_state
    try:
        now = choices.read(str(folders.DATA_ROOT))
        readings.split_sizes(now)
        if now != config:
            seconds = process.epoch_seconds(now)
            if seconds and seconds * now.epochs > LONG_S:
                return  # the rerun asks for confirmation first
            config, suggested = now, suggest_name(folders.RUN_ROOT, now)
        edited = form.get("name_edited")
        if not edited and (same := live.live_twin(config)):  # a slow double click
            st.toast(f"{same.name} has these very settings; change one, or enter a name.")
            return
        at_once = process.worker().idle
        if edited:
            name = form["run_name"].strip()
            run = process.worker().submit(config, name, folders.RUN_ROOT)
        else:
            run = process.submit(config, suggested)
        at_once = at_once or run.status().state is State.RUNNING  # another tab has started it
    except (ConfigError, DataError, RunError) as error:
        form["start_problem"] = told(error)
        return
    keep_words(run)
    st.session_state["name_edited"] = False
    st.session_state["started"] = run.name, config
    if at_once:
        live.watch(run.name, pin=False)
        st.session_state["just_started"] = True
    else:
        st.toast(f"{run.name} was added to the queue.")


def keep_words(run: Run) -> None:
    """Store title and note with the run; what cannot be stored stays in the form."""
    form = st.session_state
    for word, setter in (("title", run.set_title), ("note", run.set_note)):
        key = f"run_{word}"
        try:
            if text := form.get(key, "").strip():
                setter(text)
                form[key] = ""
        except RunError as error:
            st.toast(f"The {word} was not stored: {told(error)}")


def name_edited() -> None:
    """Keep a name that the user typed; suggest one again if it was cleared."""
    name = st.session_state["run_name"].strip()
    st.session_state["name_edited"] = bool(name) and name != st.session_state.get("name_before")


def told(error: ValueError) -> str:
    """An error in the form's words, as Markdown in which nothing is marked up."""
    return markdown(choices.explain(error) if isinstance(error, ConfigError) else plain(error))
