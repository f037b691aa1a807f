"""Choose, start and watch a training."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

import streamlit as st

from engine import data
from engine.config import RunConfig
from engine.device import resolve
from engine.errors import ConfigError, DataError, RunError
from engine.estimate import Costs
from engine.runs.folder import suggest_name
from engine.runs.run import State
from pages.ui import charts, choices, folders, frame, live, process, readings, refresh, tables
from pages.ui.text import command, duration, markdown, plain
from pages.ui.train import controls
from pages.ui.train.strip import augmentation_strip

UNFINISHED = (State.PAUSED, State.INTERRUPTED)
LOOK_WATCHING_S = 20.0  # from one look at the other runs to the next while one is watched
AWAIT_S = 2.0  # from one look for the machine's speed to the next
LONG_S = 3600.0  # a run that takes longer asks first
# On a phone Start is far below the curves that it brings. A constant: nothing goes into it.
SCROLL_UP = """<script>
document.querySelector('[data-testid="stMain"]').scrollTo({ top: 0, behavior: "smooth" });
</script>"""
# Keeps what a reload would lose. Not by st.query_params, which makes an entry of the browser's
# history of every change. Only percent-encoded text goes into it, and on no other page's address.
ADDRESS = """<script>
if (location.pathname.endsWith("/Train")) {
  const address = new URL(location);
  for (const [key, word] of new URLSearchParams("%s"))
    word ? address.searchParams.set(key, word) : address.searchParams.delete(key);
  history.replaceState(history.state, "", address);
}
</script>"""


def page() -> None:
    frame.start_page("Train")
    on_cpu = resolve().device.type == "cpu"
    address = st.query_params.to_dict()
    address = address if frame.entered() else {}
    choices.prepare_form("minute" if on_cpu else "study", address.get("choices"))
    if asked := address.get("run"):
        watch(asked)
    elif seen := address.get("watched"):
        st.session_state["watching"], st.session_state["pinned"] = seen, None
    statuses = readings.statuses()
    watched = watched_run(statuses)
    if watched:
        if st.session_state.pop("just_started", False):
            st.html(SCROLL_UP, unsafe_allow_javascript=True)
        live.panel(watched, close)
        queue(statuses)
        st.divider()
        st.subheader("New run", anchor=False)
    else:
        queue(statuses)
        st.write("Choose a network and press **Start training**: it learns while you watch.")
    form()
    # Every look makes the browser draw the page again, which a training would wait for.
    training = watched is not None and watched.status().state in readings.LIVE
    refresh.rerun_on_change(
        live_runs, statuses, every=LOOK_WATCHING_S if training else refresh.INTERVAL_S
    )


def live_runs(pairs: list) -> list[tuple[str, State]]:
    return [(run.name, status.state) for run, status in pairs if status.state in readings.LIVE]


def watched_run(statuses: list):
    """The run chosen here; else the one that trains, and after its end still that one.

    Of unfinished runs only the newest of all: what was trained since has left the others behind.
    """
    form = st.session_state
    chosen = readings.find_run(form.get("watching"))
    if chosen and (form.get("pinned") == chosen.name or chosen.status().state in readings.LIVE):
        return chosen
    for wanted in (State.RUNNING, State.QUEUED):
        for run, status in statuses:
            if status.state is wanted:
                form["watching"] = run.name
                return run
    if chosen is None and statuses:
        newest, status = statuses[0]
        if status.state in UNFINISHED and newest.name not in form.get("closed", ()):
            form["watching"] = newest.name
            return newest
    return chosen


def queue(statuses: list) -> None:
    """The runs that wait, and those that an earlier server left waiting."""
    waiting = [run for run, status in statuses if status.state is State.QUEUED]
    mine = [run.path for run in process.worker().waiting()]
    current = process.worker().current
    left = [r for r in waiting if r.path not in mine and not (current and current.path == r.path)]
    if left:
        names = ", ".join(run.name for run in left[:5])
        st.info(f"Left in the queue by an earlier session: {names}")
        if st.button("Continue queue", key="continue_queue"):
            process.worker().continue_queue(folders.RUN_ROOT)
            st.rerun()
    others = [(r, s) for r, s in statuses if s.state in (*readings.LIVE, State.PAUSED)]
    if len(others) < 2:
        return
    turns = {path: turn for turn, path in enumerate(mine)}
    others.sort(key=lambda pair: (pair[1].state is not State.RUNNING, turns.get(pair[0].path, -1)))
    with st.expander(f"Queue: {len(waiting)} waiting", expanded=True):
        for run, status in others:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.badge(status.state.value, color=live.COLOURS.get(status.state, "orange"))
                st.button(
                    run.name,
                    key=f"watch_{run.name}",
                    type="tertiary",
                    on_click=watch,
                    args=(run.name,),
                )
                if status.state is State.QUEUED:
                    st.button(
                        "Cancel", key=f"cancel_{run.name}", on_click=live.ask, args=(run, "cancel")
                    )


def close() -> None:
    """Put the watched run away until it is asked for again."""
    form = st.session_state
    form["closed"] = {*form.get("closed", ()), form["watching"]}
    watch(None)


def watch(name: str | None) -> None:
    """Stay with this run whatever else trains."""
    st.session_state["watching"] = st.session_state["pinned"] = name


def form() -> None:
    controls.preset_input(choices.matching_preset(str(folders.DATA_ROOT)))
    left, right = st.columns([3, 2], gap="large")
    with left:
        with st.container(border=True):
            controls.data_inputs()
        with st.container(border=True):
            controls.model_inputs()
        with st.container(border=True):
            controls.augment_inputs()
            augmentation_strip()
        with st.container(border=True):
            controls.recipe_inputs()
    with right:
        try:
            config = choices.read(str(folders.DATA_ROOT))
            costs = process.model_costs(config.model, config.batch_size)
            readings.data_sizes(config)
            dataset = config.data.dataset
            own = readings.own_classes(dataset) if dataset not in data.DATASETS else []
        except (ConfigError, DataError) as error:
            remember(None)
            st.error(f"This cannot be trained. {told(error)}")
            st.button("Start training", key="start", type="primary", disabled=True)
            return
        remember(config)
        overview(config, costs)
        if own:
            own_classes(own)
        start_box(config, costs)


def remember(config: RunConfig | None) -> None:
    """Keep choices that can be trained and the watched run in the address, for a reload."""
    name, pinned = st.session_state.get("watching"), st.session_state.get("pinned")
    words = {"run": name if name == pinned else "", "watched": name if name != pinned else ""}
    if config:
        words["choices"] = choices.encode(config)
    words = {key: word or "" for key, word in words.items()}
    st.html(ADDRESS % urlencode(words, quote_via=quote, safe=""), unsafe_allow_javascript=True)


def told(error: ValueError) -> str:
    """An error in the form's words, as Markdown; a file's name in it cannot be any."""
    return markdown(choices.explain(error) if isinstance(error, ConfigError) else plain(error))


def overview(config: RunConfig, costs: dict) -> None:
    """What the choices mean before a single step is taken."""
    gigabytes = costs["bytes"] / 1e9
    memory = f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{max(1, gigabytes * 1e3):.0f} MB"
    with st.container(horizontal=True):  # wraps where three do not fit abreast
        narrow = {"width": "content"}
        st.metric("Parameters", f"{costs['parameters'] / 1e6:.2f} M", **narrow)
        st.metric(
            "Multiply-adds", f"{costs['step'].macs / 1e6:,.0f} M", help="For one image.", **narrow
        )
        st.metric("Memory", memory, help="To train with this batch size.", **narrow)
    rows = charts.curve_rows(config.schedule, config.optim, config.epochs)
    st.vega_lite_chart(
        rows, charts.line_spec("lr"), alt="the learning rate that the run will follow"
    )
    for warning in config.warnings():
        st.warning(warning[0].upper() + warning[1:])


def own_classes(counts: list[tuple[str, int, int]]) -> None:
    """How the folders of one's own images were read: classes, and images of each split."""
    train, test = (sum(row[column] for row in counts) for column in (1, 2))
    st.write(f"**{len(counts):,} classes**: {train:,} training images, {test:,} test images")
    st.dataframe(tables.class_table(counts), hide_index=True, key="own_classes")


def start_box(config: RunConfig, costs: dict) -> None:
    total = estimate_line(config, costs)
    form, suggested = st.session_state, suggest_name(folders.RUN_ROOT, config)
    if not form.get("run_name"):  # emptied, or not kept while the box was off screen
        form["name_edited"] = False
    if not form.get("name_edited") and form.get("run_name") != suggested:
        form["name_before"], form["run_name"] = form.get("run_name"), suggested
    st.text_input("Name", key="run_name", on_change=name_edited, max_chars=80, **controls.keep())
    dataset = config.data.dataset
    if dataset in data.DATASETS and not data.is_available(dataset, folders.DATA_ROOT):
        st.info(f"{data.DATASETS[dataset].title} is not here yet: the run will download it first.")
        st.page_link("app.py", label="Download it on Home")
    busy = not process.worker().idle
    label, key = ("Add to queue", "queue") if busy else ("Start training", "start")
    if total and total > LONG_S:
        with st.popover(label, key=key, type="primary"):
            st.write(
                f"This takes about **{duration(total)}** on this machine. "
                "It can be paused and resumed."
            )
            st.button("Start anyway", key="start_anyway", on_click=start, args=(config, suggested))
    else:
        st.button(label, key=key, type="primary", on_click=start, args=(config, suggested))
    if busy:
        st.caption("Another run is training; this one starts after it.")
    if problem := st.session_state.pop("start_problem", None):
        st.error(problem)
    name = st.session_state["run_name"]
    with st.expander("Copy as command, or as a link"):
        st.code(command(config, name), language="bash", wrap_lines=True)
        address = urlsplit(st.context.url or "http://localhost:8501/Train")
        link = f"{address.scheme}://{address.netloc}{address.path}?choices={quote(choices.encode(config))}"
        st.code(link, language=None, wrap_lines=True)


def estimate_line(config: RunConfig, costs: dict) -> float | None:
    """Say how long it will take; the total in seconds, None while unknown."""
    seconds = process.epoch_seconds(config, costs["step"])
    if seconds is None:
        process.measure_speed(config)
        every = AWAIT_S if process.worker().current is None else LOOK_WATCHING_S
        st.fragment(await_speed, run_every=every)(config, costs["step"])
        return None
    total = seconds * config.epochs
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    st.write(
        f"About **{duration(total)}** on this machine: {epochs} of "
        f"{duration(seconds)}. {process.compute_text(config.precision)}"
    )
    return total


def await_speed(config: RunConfig, network: Costs) -> None:
    if process.epoch_seconds(config, network) is not None:
        st.rerun()
    if process.worker().current is None:
        st.caption("Measuring how fast this machine is…")
    else:
        st.caption("The time is estimated once no other run is training.")


def start(config: RunConfig, suggested: str) -> None:
    """Submit the form. Twice the same gives the same run.

    A quick click comes before the page has followed the last change: then the form counts, not
    what the button was drawn with, and the name box may still hold the suggestion before.
    """
    form = st.session_state
    try:
        now = choices.read(str(folders.DATA_ROOT))
        readings.data_sizes(now)
        if now != config:
            costs = process.model_costs(now.model, now.batch_size)
            seconds = process.epoch_seconds(now, costs["step"])
            if seconds and seconds * now.epochs > LONG_S:
                return  # the page, drawn anew, asks first
            config, suggested = now, suggest_name(folders.RUN_ROOT, now)
        edited = form.get("name_edited")
        if not edited and (same := live.live_twin(config)):  # a slow double click
            st.toast(f"{same.name} is this very training; change something, or give it a name.")
            return
        name = form["run_name"].strip() if edited else suggested
        at_once = process.worker().idle
        run = process.worker().submit(config, name, folders.RUN_ROOT)
        at_once = at_once or run.status().state is State.RUNNING  # another tab has started it
    except (ConfigError, DataError, RunError) as error:
        form["start_problem"] = told(error)
        return
    st.session_state["name_edited"] = False
    st.session_state["started"] = run.name, config
    if at_once:
        st.session_state["watching"], st.session_state["pinned"] = run.name, None
        st.session_state["just_started"] = True
    else:
        st.toast(f"{run.name} was added to the queue.")


def name_edited() -> None:
    name = st.session_state["run_name"].strip()
    st.session_state["name_edited"] = bool(name) and name != st.session_state.get("name_before")


page()
