"""Upload pictures, or draw test images, and see how one or two trained networks classify them."""

from __future__ import annotations

import contextlib

import streamlit as st
from streamlit.errors import StreamlitAPIException

from engine import data
from engine.data import formats
from engine.inputs import FITS
from engine.predict import MAX_BYTES
from pages.ui import frame, process, readings, refresh, weights
from pages.ui.classify import cards, networks, samples
from pages.ui.classify.editing import editing
from pages.ui.classify.export import to_csv
from pages.ui.classify.networks import Ready
from pages.ui.classify.pictures import (
    MAX_PICTURES,
    File,
    draw_tests,
    forget_uploads,
    read_uploads,
    test_data,
)
from pages.ui.classify.why import why
from pages.ui.text import code, markdown, plain
from pages.ui.weights import Choice, dataset_title

FEW = 20  # up to this many classes are listed without an expander
MINE, TESTS = "Your pictures", "Random test images"


def page() -> None:
    frame.start_page("Classify")
    choices = weights.choices()
    if not choices:
        nothing_yet()
        return
    st.html(cards.STYLE)
    chosen = choose(choices)
    known_classes(chosen)
    k, fit = options(chosen)
    mine, tests = st.tabs([MINE, TESTS], key="source", on_change="rerun")
    with mine:
        own_pictures(chosen, k, fit, shown=mine.open is not False)
    if tests.open:
        with tests:
            test_images(chosen, k)


def nothing_yet() -> None:
    """Without any weights: say what to do, and rerun the page once there are some."""
    training = any(status.state in readings.LIVE for _, status in readings.statuses())
    if training:
        st.info("A network is training. You can try it here after its first checkpoint.")
    else:
        st.info(
            "There is no trained network here yet. Training a first one takes "
            f"{process.first_training()}."
        )
    link("pages/1_Train.py", "Watch it train" if training else "Train a network")
    refresh.repeat(look_again, 3.0)()


def look_again() -> None:
    if weights.choices():
        st.rerun()


def link(target: str, label: str) -> None:
    with contextlib.suppress(StreamlitAPIException):  # the page runs alone, as in a test
        st.page_link(target, label=label)


def choose(choices: dict[str, Choice]) -> list[Ready]:
    """Load the one or two chosen networks; show a message for one that cannot be loaded."""
    left, right = st.columns(2)
    with left:
        first = st.selectbox(
            "Network",
            list(choices),
            key="checkpoint",
            format_func=lambda key: choices[key].label,
            persist_state="session",
        )
        ready = loaded(choices[first])
    with right:
        others = [key for key in choices if key != first]
        second = st.selectbox(
            "Compare with",
            others,
            index=None,
            key="checkpoint_2",
            format_func=lambda key: choices[key].label,
            placeholder="another network (optional)" if others else "no other network yet",
            disabled=not others,
            persist_state="session",
        )
        if second:
            ready += loaded(choices[second])
    return ready


def loaded(choice: Choice) -> list[Ready]:
    """The choice with its network; an empty list, with a message, if it cannot be loaded."""
    try:
        ready = networks.load(choice)
        st.caption(weights.facts(choice) + calibration(ready))
    except (ValueError, OSError) as error:
        why = markdown(plain(error))
        st.error(f"{choice.title} cannot be used: {why}")
        return []
    return [ready]


def calibration(ready: Ready) -> str:
    if ready.temperature is None:
        return ""
    return f" · probabilities calibrated (temperature {ready.temperature:.2f})"


def known_classes(chosen: list[Ready]) -> None:
    known = {ready.choice.title: ready.classes for ready in chosen}
    if len(set(known.values())) == 1:
        known = {"": next(iter(known.values()))}
    for title, classes in known.items():
        heading = f"Classes of {title}" if title else "Classes"
        if len(classes) <= FEW:
            st.html(cards.class_list(classes, heading))
        else:
            with st.expander(f"{heading} ({len(classes)})", key=f"classes_{title}"):
                st.html(cards.class_list(classes))
    if len(known) > 1:
        first, second = known.values()
        if set(first).isdisjoint(second):
            st.caption("The two networks have no class in common, so agreement is not counted.")
        else:
            st.caption(
                "The two networks have different classes; they agree if both predict the same one."
            )


def options(chosen: list[Ready]) -> tuple[int, str]:
    """Number of classes to show, and how to make pictures square: by default as in training."""
    trained = {ready.choice.title: ready.predictor.fit for ready in chosen}
    first = next(iter(trained.values()), "crop")
    form = st.session_state
    if form.get("fit_of_network") != first:
        form["fit_of_network"] = form["classify_fit"] = first
    with st.container(horizontal=True, gap="medium"):
        k = st.slider("Top classes shown", 1, 10, 5, key="topk", width=260, persist_state="session")
        fit = st.segmented_control(
            "If not square",
            list(FITS),
            key="classify_fit",
            required=True,
            format_func=FITS.get,
            persist_state="session",
        )
    for title, own in trained.items():
        if own != fit:
            st.caption(f"{markdown(title)} was trained with: {FITS[own]}.")
    return k, fit


def own_pictures(chosen: list[Ready], k: int, fit: str, *, shown: bool) -> None:
    classes = chosen[0].classes if chosen else ()
    if shown and chosen:
        samples.row(classes)
        real_images(chosen[0])
    # No `type` argument: Streamlit would stop the page at a file with another extension.
    files = st.file_uploader(
        f"{formats.TITLE} pictures, up to {MAX_PICTURES} at once",
        accept_multiple_files=True,
        key="upload",
        max_upload_size=MAX_BYTES // 2**20,
        on_change=samples.put_back,
    )
    if shown and len(files) > MAX_PICTURES:
        st.warning(f"Only the first {MAX_PICTURES} of {len(files)} pictures were classified.")
    photo = camera() if shown else []
    uploads = [File(each.file_id, each.name, each.getvalue) for each in files[:MAX_PICTURES]]
    files = samples.chosen(classes) + photo + uploads
    if not files:
        forget_uploads()
    if not shown or not files:
        return
    bar = st.empty()
    pictures, refused = read_uploads(
        files, lambda done, total: bar.progress(done / total, "Reading the pictures…")
    )
    bar.empty()
    for name, reason in refused:
        st.error(f"{code(name)} was not classified: {markdown(reason)}.")
    results(chosen, pictures, refused, k, fit)


def real_images(ready: Ready) -> None:
    """Lead to test images of the data set, if they are here."""
    with contextlib.suppress(ValueError, OSError):  # reported where they are drawn
        if dataset := test_data(ready.choice, ready.classes):
            title = markdown(dataset_title(data.name_of(dataset)))
            st.button(
                f"Or random test images of {title}",
                key="to_tests",
                type="tertiary",
                on_click=open_tests,
            )


def open_tests() -> None:
    st.session_state["source"] = TESTS


def camera() -> list[File]:
    """A photo that was taken now; the camera stays off until it is asked for."""
    box = st.expander("Take a photo", key="camera", on_change="rerun")
    if not box.open:
        return []
    with box:
        photo = st.camera_input(
            "Photo",
            key="photo",
            label_visibility="collapsed",
            width=480,
            on_change=samples.put_back,
        )
    return [File(photo.file_id, "Photo", photo.getvalue)] if photo else []


def test_images(chosen: list[Ready], k: int) -> None:
    if not chosen:
        return
    st.session_state.setdefault("draw", 0)
    st.button("New images", key="new_images", on_click=draw_again)
    try:
        pictures, other = draw_tests(chosen[0].choice, chosen[0].classes, st.session_state["draw"])
    except (ValueError, OSError) as error:
        st.info(markdown(plain(error)))
        return
    if other:
        st.caption(markdown(other))
    results(chosen, pictures, [], k, "crop")


def draw_again() -> None:
    st.session_state["draw"] += 1


def results(chosen: list[Ready], pictures: list, refused: list, k: int, fit: str) -> None:
    """Show counts over all pictures, a card for each, and a CSV download."""
    if not chosen or not (pictures or refused):
        return
    said = [ready.answers(pictures, fit, k) for ready in chosen]
    rows = [(picture, [each[i] for each in said]) for i, picture in enumerate(pictures)]
    if rows:
        figures(chosen, rows)
        with st.container(key="compared" if len(chosen) > 1 else "answers"):
            for picture, answers in rows:
                with st.container(key=f"card_{picture.key}", gap="xsmall"):
                    st.html(cards.card(picture, answers, fit))
                    why(chosen, picture, answers, fit)
                    if picture.thumb:  # not a test image, which is the input itself
                        editing(picture)
        explain(chosen)
    st.download_button(
        "Download as CSV",
        data=lambda: to_csv(rows, refused, fit),
        file_name="classified.csv",
        mime="text/csv",
        on_click="ignore",
        key="csv",
    )


def figures(chosen: list[Ready], rows: list) -> None:
    """Show counts over several pictures, one line per network."""
    count, truths = len(rows), {picture.truth for picture, _ in rows}
    if count < 2:
        return
    lines = []
    for number, ready in enumerate(chosen):
        unsure = sum(said[number].unsure for _, said in rows)
        counts = [f"**{unsure} of {count}** may be none of these classes"]
        if truths <= set(ready.classes):
            right = sum(said[number].label == picture.truth for picture, said in rows)
            counts.insert(0, f"**{right} of {count}** right")
        of = f"{ready.choice.title}: " if len(chosen) > 1 else ""
        lines.append(of + ", ".join(counts))
    if cards.comparable(rows[0][1]):
        same = sum(cards.agree(said) for _, said in rows)
        lines.append(f"The two agree on **{same} of {count}**")
    st.markdown("  \n".join(lines))


def explain(chosen: list[Ready]) -> None:
    if any(ready.temperature for ready in chosen):
        st.caption(
            "**Calibrated** probabilities: the scores before softmax (logits) are divided by a "
            "number, the temperature. It was fitted to images with known labels, so that of the "
            "answers given with 80 %, about 80 % are right. That need not hold for other kinds of "
            "pictures."
        )
    if all(len(ready.classes) <= 1 / cards.UNSURE for ready in chosen):
        return  # the likelier of two classes has at least 50 %
    st.caption(
        f"**May be none of these classes** marks pictures whose most likely class has a "
        f"probability below {100 * cards.UNSURE:.0f} %. A network distributes 100 % over its "
        "classes, whatever the picture shows, so a high probability is no guarantee: a picture of "
        "something else can get one too."
    )


page()
