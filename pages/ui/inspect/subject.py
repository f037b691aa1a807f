"""What is inspected: a network, and the images that it is asked about."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import streamlit as st

from engine import predict
from engine.data import ImageData
from engine.inspect import version
from engine.inspect.predictions import compute_like
from engine.inspect.sample import Sample, sample
from engine.predict import Network
from engine.runs.run import Run
from pages.ui import folders, weights
from pages.ui.inspect import datasets
from pages.ui.text import markdown, plain
from pages.ui.weights import Choice, plain_network

SIZES = (500, 2_000)  # images, besides all
OTHER = "other"  # a folder or zip, whose path is typed
TEST, HELD = "test", "held-out"
VERSIONS = "cache/inspect/versions"  # below the data root: weights of runs in training


@dataclass(frozen=True)
class Subject:
    """A network, images of a data set with its classes, and how to call them."""

    choice: Choice
    network: Network  # plain layers, fp32, on the CPU
    data: ImageData
    part: str  # TEST or HELD, of the split
    sample: Sample
    key: tuple  # changes with the images

    @property
    def classes(self) -> tuple[str, ...]:
        return self.network.classes

    @property
    def images(self) -> str:
        """The images in words."""
        what = "held-out" if self.part == HELD else "test"
        count = f"{len(self.sample):,} of {self.sample.total:,}"
        return f"{count} {what} images of {datasets.title(self.key[0])}"

    def split(self) -> Sample:
        """All images of the split that the sample is of."""
        return sample(*_split(self.network, self.data, self.part))


def choose(choices: dict[str, Choice]) -> Subject | None:
    """Draw the choices; None, with a message, if they cannot be used."""
    first_network(choices)
    left, right = st.columns(2)
    with left:
        name = st.selectbox(
            "Network",
            list(choices),
            key="network",
            format_func=lambda key: choices[key].label,
            bind="query-params",
            persist_state="session",
        )
        choice = pinned(choices[name])
        st.caption(facts(choice))
    with right:
        dataset = choose_data(choice)
    if not dataset:
        return None
    try:
        network = plain_network(choice)
        found = datasets.load(dataset, choice)
    except (ValueError, OSError) as error:
        st.error(markdown(plain(error)))
        return None
    with right:
        part, drawn = choose_images(network, found, datasets.is_own(choice, found, dataset))
    if not len(drawn):
        st.info("This data set has no test images; choose another one.")
        return None
    # Which images are held out depends on the network.
    held_of = choice.name if part == HELD else ""
    key = (dataset, str(found.fingerprint), part, held_of, len(drawn))
    return Subject(choice, network, found, part, drawn, key)


def facts(choice: Choice) -> str:
    """One line about a network, and how its predictions are computed."""
    compute, layers = compute_like(Run(choice.weights.parent))
    like = ", as in its own validation" if layers == "training" else ""
    return f"{weights.facts(choice)} · classifies in {compute.precision}{like}"


def first_network(choices: dict[str, Choice]) -> None:
    """Begin with a network whose data is here, unless the link names one."""
    if "network" not in st.session_state and "network" not in st.query_params:
        ready = (key for key, choice in choices.items() if datasets.fitting(choice))
        st.session_state["network"] = next(ready, next(iter(choices)))


def choose_data(choice: Choice) -> str | None:
    """The key or path of a data set; None, with what to do next, if none is chosen."""
    options = [*datasets.fitting(choice), OTHER]
    if st.session_state.get("data") not in options:
        st.session_state["data"] = options[0]
    dataset = st.selectbox(
        "Data set",
        options,
        key="data",
        format_func=lambda key: "Own folder or zip" if key == OTHER else datasets.title(key),
        bind="query-params",
        persist_state="session",
    )
    if dataset != OTHER:
        return dataset
    path = st.text_input("Path of class folders", key="data_path", persist_state="session")
    if path.strip():
        return path.strip()
    if len(options) == 1:
        trained_on = datasets.own_dataset(choice) or "an unknown data set"
        st.info(
            f"No data set on this computer has this network's classes: it was trained on "
            f"{markdown(datasets.title(trained_on))}. Download CIFAR on Home, give the path of a "
            "folder or zip, or train a network on the built-in shapes."
        )
        st.page_link("app.py", label="Download data on Home")
        st.page_link("pages/1_Train.py", label="Train a network on the shapes")
    return None


def choose_images(network: Network, found: ImageData, own: bool) -> tuple[str, Sample]:
    """The part of the data set, and a sample of its images.

    own: whether the network was trained on the data set, so that some of it may be held out.
    """
    part = TEST
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if own and network.config.data.holdout:
            part = st.segmented_control(
                "Images",
                [HELD, TEST],
                default=HELD,
                required=True,
                key="part",
                format_func={HELD: "Held-out", TEST: "Test"}.get,
                persist_state="session",
            )
        images, labels = _split(network, found, part)
        total = len(labels)
        sizes = [size for size in SIZES if size < total]
        size = st.segmented_control(
            "Number of images",
            [*sizes, 0],
            default=SIZES[-1] if SIZES[-1] < total else 0,
            required=True,
            key=f"size_{total}",
            format_func=lambda size: f"{size:,}" if size else f"All {total:,}",
            persist_state="session",
        )
    drawn = sample(images, labels, size or None)
    if len(drawn) < total:
        st.caption(
            f"**{len(drawn):,} of {total:,} images**, drawn at random, always the same ones; with "
            "fewer images the intervals are wider."
        )
    return part, drawn


def _split(network: Network, found: ImageData, part: str) -> tuple:
    if part == HELD:
        parts = predict.own_splits(network, found)
        return parts.val_images, parts.val_labels
    return found.test_images, found.test_labels


def pinned(choice: Choice) -> Choice:
    """The choice; while its run trains, in the version that was first inspected until asked."""
    versions = st.session_state.setdefault("inspect_versions", {})
    key = choice.title
    if not choice.trains:
        versions.pop(key, None)
        return choice
    if key not in versions or not versions[key][0].exists():
        try:
            versions[key] = version.keep(choice.weights, folders.DATA_ROOT / VERSIONS)
        except OSError:  # such as a full disk: sections may then show different versions
            return choice
    copy, changed = versions[key]
    if changed != choice.changed:
        st.button(
            "Use the newer weights", key=f"newer_{key}", on_click=versions.pop, args=(key, None),
            help="Its training has written weights since these were read.",
        )  # fmt: skip
    return dataclasses.replace(choice, changed=changed, copy=copy)
