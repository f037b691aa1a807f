"""Choose, start and watch a training."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import advice, data, estimate
from engine.config import RunConfig
from engine.device import memory_bytes, resolve
from engine.errors import ConfigError, DataError, DataPending
from engine.estimate import Requirements
from engine.models.summary import check_memory
from engine.runs.run import Run
from pages.ui import charts, choices, folders, frame, importing, live, readings, refresh
from pages.ui.text import markdown
from pages.ui.train import controls, find, groups
from pages.ui.train.address import remember
from pages.ui.train.found import found
from pages.ui.train.start import more_ways, skip_link, start_box, told, unready
from pages.ui.train.watching import close, queue, watched_run


def page() -> None:
    frame.start_page("Train")
    on_cpu = resolve().device.type == "cpu"
    skip_link()
    # Keyed, and made first on every run: whatever appears above the form, the browser keeps the
    # form's fields as they are, with half-typed text and the focus.
    above, inputs = keyed("above_form"), keyed("form")
    with frame.entering() as entered, above:
        follow(st.query_params.to_dict() if entered else {}, "minute" if on_cpu else "study")
    statuses = readings.statuses()
    watched = watched_run(statuses)
    with above:
        watching(watched, statuses)
    with inputs:
        form(statuses)
    status = readings.status_of(watched) if watched else None
    training = status is not None and status.state in readings.LIVE
    every = refresh.WATCHING_S if training else refresh.INTERVAL_S
    refresh.rerun_on_change(refresh.live_states, statuses, every)


def follow(address: dict[str, str], first: str) -> None:
    """Open the groups, fill the form and watch the run that an address asks for.

    first: the preset of a form that nothing has filled yet.
    """
    groups.restore(address.get("open", ""))
    choices.prepare_form(first, address.get("choices"))
    if address.get("images") == choices.OWN_IMAGES:  # from Home
        st.session_state["dataset"] = choices.OWN_IMAGES
    if asked := address.get("run"):
        live.watch(asked)
    elif seen := address.get("watched"):
        live.watch(seen, pin=False)


def watching(watched: Run | None, statuses: refresh.Pairs) -> None:
    """The watched run, the queue, and the heading of the form below them."""
    if not watched:
        queue(statuses)
        st.write("Choose a network and press **Start training** to watch it learn.")
        return
    if st.session_state.pop("just_started", False):
        frame.scroll_up()
    live.panel(watched, close, find.change)
    queue(statuses)
    st.divider()
    st.subheader("New run", anchor=False)


def form(statuses: refresh.Pairs) -> None:
    filled = choices.valid(str(folders.DATA_ROOT))
    preset, search = st.columns([3, 2], gap="large")
    with preset:
        controls.preset_input(filled)
    with search:
        find.search_box()
    left, right = st.columns([3, 2], gap="large")
    with left:
        for inputs in (
            controls.data_inputs,
            controls.model_inputs,
            controls.augment_inputs,
            controls.recipe_inputs,
        ):
            with st.container(border=True):
                inputs(filled)
    find.show_sought()
    with right:
        start, meaning, more = map(keyed, ("start_box", "overview", "more_ways"))
    with meaning:
        try:
            config = choices.read(str(folders.DATA_ROOT))
            required = estimate.requirements(config.model, config.batch_size)
            device = resolve(config.device, config.precision).device
            check_memory(required.parameters, memory_bytes(device))
            readings.split_sizes(config)
            notes = readings.initial_notes(config)
            dataset = config.data.dataset
            own = None
            if dataset not in data.DATASETS:
                own = readings.own_images(dataset, config.data.fit)
        except DataPending:
            remember(config)
            what = "Classes appear here, and a run can start,"
            importing.await_import(config.data.dataset, config.data.fit, what)
            with start:
                start_box(config, statuses, ready=False)
            with more:
                more_ways(config)
            return
        except (ConfigError, DataError) as error:
            remember(None)
            if choices.lacks_path():
                st.info("Choose or add your own images to see their classes here.")
            else:
                st.error(f"Cannot start. {told(error)}")
            with start:
                unready()
            return
        remember(config)
        overview(config, required)
        if own:
            found(own, config.data.fit, "own_classes")
        for note in notes:
            st.info(markdown(f"{note[0].upper()}{note[1:]}."))
    with start:
        start_box(config, statuses, own=own)
    with more:
        more_ways(config)


def keyed(key: str) -> DeltaGenerator:
    return st.container(key=key)


def overview(config: RunConfig, required: Requirements) -> None:
    """What the settings mean: size and cost of the network, learning rate, warnings."""
    gigabytes = required.bytes / 1e9
    memory = f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{max(1, gigabytes * 1e3):.0f} MB"
    with st.container(horizontal=True):  # wraps where three do not fit abreast
        narrow = {"width": "content"}
        st.metric("Parameters", f"{required.parameters / 1e6:.2f} M", **narrow)
        st.metric(
            "Multiply-adds",
            f"{required.costs.macs / 1e6:,.0f} M",
            help="Of one forward pass, for one image.",
            **narrow,
        )
        st.metric(
            "Memory",
            memory,
            help="Estimated for training with this batch size, in full precision.",
            **narrow,
        )
    rows = charts.curve_rows(config.schedule, config.optim, config.epochs)
    st.vega_lite_chart(rows, charts.line_spec("lr"), alt="learning rate by epoch")
    available = memory_bytes(resolve(config.device, config.precision).device)
    train_images, _ = readings.split_sizes(config)
    for warning in advice.warnings(config, train_images, required.bytes, available):
        st.warning(warning[0].upper() + warning[1:])


page()
