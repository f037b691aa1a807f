"""What training does to its images: every step on one image, and on a whole batch."""

from __future__ import annotations

import numpy as np
import streamlit as st
from PIL.Image import Image

from engine import data, predict
from engine.data import ImageData
from engine.errors import DataError
from pages.ui import folders, frame, images, readings
from pages.ui.augmentations import charts, preview
from pages.ui.augmentations.preview import Knobs, Walk
from pages.ui.choices import OWN_IMAGES
from pages.ui.text import markdown, plain

MAX_UPLOAD_MB = 20
MAX_SEED = 2**31 - 1
FIT = {"crop": "Cut to a square", "pad": "Show all of it"}
# widget key: value at the start. With this seed chance shows something at every step.
VIEW = {"aug_image": 1, "aug_seed": 607, "aug_fit": "crop", "aug_mixing": "mixup"}
TRAINING = {
    "aug_padding": Knobs.padding,
    "aug_flip": Knobs.flip_p,
    "aug_erase": Knobs.erase_p,
    "aug_area": Knobs.erase_scale,
    "aug_ratio": Knobs.erase_ratio,
    "alpha": Knobs.mixup_alpha,
    "aug_cutmix_alpha": Knobs.cutmix_alpha,
}
ALPHA = "λ ~ Beta(α, α): small values mix little, 1 mixes evenly."
RESNET = ("Deep Residual Learning for Image Recognition", "1512.03385")
ERASING = ("Random Erasing Data Augmentation", "1708.04896")
MIXUP = ("mixup: Beyond Empirical Risk Minimization", "1710.09412")
CUTMIX = (
    "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    "1905.04899",
)


def page() -> None:
    frame.start_page("Augmentations")
    st.write(
        "Training hardly ever shows the network the same image twice: each time it is shifted, "
        "mirrored, partly hidden or mixed with another. Here the very same steps work on an image "
        "of your choice. A training that is under way does not notice."
    )
    form = st.session_state
    for key, value in (VIEW | TRAINING).items():
        form.setdefault(key, value)
    chosen = choose()
    if chosen is None:
        return
    grid = st.grid(3, min_column_width=290, border=True)
    with grid.cell():
        st.subheader("1 · Original", anchor=False)
        place = st.container()  # drawn once the upload below it is known
        own = own_image()
    names = [*chosen.classes, "your image"]
    batch, labels = preview.choose_batch(chosen, form["aug_image"] - 1, own)
    knobs = Knobs(*(form[key] for key in TRAINING))
    blended, pasted, whole = (
        preview.walk(knobs.pipeline(chosen, mixing), batch, labels, form["aug_seed"])
        for mixing in ("mixup", "cutmix", form["aug_mixing"])
    )
    with place:
        original(blended, names, len(chosen.train_labels))
    for card in (crop, flip, erasing):
        with grid.cell():
            card(blended)
    with grid.cell():
        mixup(blended, names)
    with grid.cell():
        cutmix(pasted, names)
    whole_batch(whole, names)


# ---------------------------------------------------------------------------- what is looked at


def choose() -> ImageData | None:
    """The first row of controls, and the data set; None, with a message, if it is unreadable."""
    titles, missing = data_sets()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "Data set",
            list(titles),
            key="dataset",
            format_func=titles.get,
            width=230,
            persist_state="session",
        )
        try:
            chosen = readings.images(source("shapes" if name == missing else name))
        except DataError as error:
            st.error(f"These images cannot be read: {plain(error)}")
            return None
        count = len(chosen.train_labels)
        if st.session_state["aug_image"] > count:
            st.session_state["aug_image"] = 1
        st.number_input(
            "Image", 1, count, step=1, key="aug_image", width=140, persist_state="session"
        )
        st.number_input(
            "Seed",
            0,
            MAX_SEED,
            step=1,
            key="aug_seed",
            width=140,
            help="All chance comes from it. The same seed keeps the same chance while you move a "
            "slider.",
            persist_state="session",
        )
        st.button("New seed", key="new_seed", type="primary", on_click=new_seed)
        st.button(
            "Training's values",
            key="aug_reset",
            on_click=st.session_state.update,
            args=(TRAINING,),
            help="Set every slider to the value that training uses.",
        )
    if missing and name == missing:
        st.info(f"{titles[name]}. The built-in shapes are shown instead.")
    if len(titles) - bool(missing) < len(data.DATASETS):
        st.page_link("app.py", label="More data sets can be fetched on Home")
    return chosen


def data_sets() -> tuple[dict[str, str], str | None]:
    """Title by name of what can be shown, and the name of what was chosen elsewhere but cannot."""
    form = st.session_state
    titles = {
        name: spec.title
        for name, spec in data.DATASETS.items()
        if data.is_available(name, folders.DATA_ROOT)
    }
    if data.is_available(source(OWN_IMAGES), folders.DATA_ROOT):
        titles[OWN_IMAGES] = "My own images"
    chosen = form.get("dataset", next(iter(titles)))
    form["dataset"] = chosen  # written here, or a choice made on another page would not reach this
    if chosen in titles:
        return titles, None
    # The Train page's choice stays as it is, here as there.
    known = data.DATASETS.get(chosen)
    return titles | {chosen: f"{known.title if known else 'My own images'} (not here)"}, chosen


def source(name: str) -> str:
    """What the engine loads under that choice: a name, or the path given on the Train page."""
    return st.session_state.get("dataset_path", "").strip() if name == OWN_IMAGES else name


def new_seed() -> None:
    st.session_state["aug_seed"] = (st.session_state["aug_seed"] + 1) % (MAX_SEED + 1)


def own_image() -> np.ndarray | None:
    """An uploaded image, uint8 [3, 32, 32]; None without one, or with a message if it is bad."""
    upload = st.file_uploader(
        "Or an image of your own",
        type=["png", "jpg", "jpeg", "webp", "bmp"],
        key="upload",
        max_upload_size=MAX_UPLOAD_MB,
    )
    if upload is None:
        return None
    try:
        image = decoded(upload.file_id, st.session_state["aug_fit"], upload.getvalue())
    except DataError as error:
        st.error(f"This image cannot be used: {plain(error)}")
        return None
    st.segmented_control(
        "Make it 32 × 32",
        list(FIT),
        key="aug_fit",
        format_func=FIT.get,
        required=True,
        persist_state="session",
    )
    return image


@st.cache_data(max_entries=16, show_spinner=False)
def decoded(file_id: str, fit: str, _content: bytes) -> np.ndarray:
    return np.asarray(predict.to_input(predict.decode_image(_content), fit))


# ---------------------------------------------------------------------------- one image


def original(walked: Walk, names: list[str], count: int) -> None:
    name = names[int(walked.stages["input"].targets_a[0])]
    picture = images.beside(walked.picture("input"))
    st.image(picture, width="stretch", alt=f"the original image: {name}")
    which = "" if name == names[-1] else f"image {st.session_state['aug_image']:,} of {count:,}, "
    st.markdown(f"**{markdown(name)}**, {which}32 × 32 px")


def crop(walked: Walk) -> None:
    st.subheader("2 · Random crop", anchor=False)
    text = preview.moved_text(walked)
    show(preview.cropped(walked), text.capitalize(), "the padded image, its frame is kept")
    st.slider("Padding (pixels)", 0, 16, step=1, key="aug_padding", persist_state="session")
    explain(
        "Pads the image with black and cuts out 32 × 32 again at random, so that it does not "
        "matter where in the image something is.",
        RESNET,
    )


def flip(walked: Walk) -> None:
    st.subheader("3 · Flip", anchor=False)
    text = "Mirrored" if walked.params.flip.flipped[0] else "Not mirrored this time"
    show(preview.flipped(walked), text, "before this step")
    st.slider(
        "Probability",
        0.0,
        1.0,
        step=0.05,
        format="percent",
        key="aug_flip",
        persist_state="session",
    )
    explain("Swaps left and right by chance: a ship is a ship whichever way it sails.", RESNET)


def erasing(walked: Walk) -> None:
    st.subheader("4 · Random erasing", anchor=False)
    show(preview.erased(walked), preview.erased_text(walked), "before this step")
    st.slider(
        "Probability",
        0.0,
        1.0,
        step=0.05,
        format="percent",
        key="aug_erase",
        persist_state="session",
    )
    st.slider(
        "Area (share of the image)",
        0.0,
        1.0,
        step=0.01,
        format="percent",
        key="aug_area",
        persist_state="session",
    )
    st.slider(
        "Height ÷ width",
        0.1,
        5.0,
        step=0.1,
        format="%.1f",
        key="aug_ratio",
        persist_state="session",
    )
    explain(
        "Hides a rectangle under the mean colour, so that the network cannot rely on one telling "
        "detail.",
        ERASING,
    )
    eraser, area = walked.pipeline.erasing, preview.erased_share(walked)
    often = charts.erased_often(eraser)
    st.markdown(f"**Areas erased** in {often:,} of {charts.SAMPLES:,} images")
    st.vega_lite_chart(
        charts.area_rows(eraser, area),
        charts.AREA_SPEC,
        alt=f"how often each erased area comes; in this image {area:.1%} is erased",
    )


def mixup(walked: Walk, names: list[str]) -> None:
    st.subheader("5a · Mixup", anchor=False)
    lam = walked.last.lam
    text = f"{lam:.1%} this image, {1 - lam:.1%} its partner"
    show(preview.mixed(walked), text, partners(walked, names))
    st.slider("Mixup α", 0.05, 2.0, step=0.05, key="alpha", help=ALPHA, persist_state="session")
    explain(
        "Blends two images and asks for both classes in the same shares, so that the network "
        "changes its mind gradually from one to the other.",
        MIXUP,
    )
    label_and_density(walked, walked.pipeline.mixup.alpha, names)


def cutmix(walked: Walk, names: list[str]) -> None:
    st.subheader("5b · CutMix", anchor=False)
    text = preview.box_text(walked.params.cutmix)
    show(preview.mixed(walked), text, partners(walked, names))
    st.slider(
        "CutMix α",
        0.05,
        2.0,
        step=0.05,
        key="aug_cutmix_alpha",
        help=ALPHA,
        persist_state="session",
    )
    explain(
        "Pastes a box of another image and asks for both classes by their area, so that the "
        "network learns from parts as well.",
        CUTMIX,
    )
    label_and_density(walked, walked.pipeline.cutmix.alpha, names)


def partners(walked: Walk, names: list[str]) -> str:
    first, second = (names[int(t[0])] for t in (walked.last.targets_a, walked.last.targets_b))
    return f"this image ({first}), its partner ({second})"


def show(picture: Image, outcome: str, beside: str) -> None:
    """A step's picture, what chance did this time, and what the small pictures are."""
    st.image(picture, width="stretch", alt=f"{outcome}. At the right: {beside}")
    st.markdown(f"**{outcome}**  \n:small[Right: {markdown(beside)}]")


def label_and_density(walked: Walk, alpha: float, names: list[str]) -> None:
    stage = walked.last
    parts = preview.soft_label(stage, names)
    st.markdown("**Soft label**: the answer asked for")
    st.vega_lite_chart(
        charts.label_rows(parts),
        charts.LABEL_SPEC,
        alt=f"soft label: {preview.label_text(parts)}",
    )
    cut = "" if walked.params.cutmix is None else "; an edge that cuts the box raises it"
    st.markdown(f"**λ = {stage.lam:.3f}**, drawn from Beta({alpha:g}, {alpha:g}){cut}")
    st.vega_lite_chart(
        charts.beta_rows(alpha, stage.lam),
        charts.BETA_SPEC,
        alt=f"density of Beta({alpha:g}, {alpha:g}); this batch has λ = {stage.lam:.3f}",
    )


def explain(sentence: str, paper: tuple[str, str]) -> None:
    title, number = paper
    st.caption(f"{sentence} [{title}](https://arxiv.org/abs/{number}), arXiv {number}.")


# ---------------------------------------------------------------------------- a batch


def whole_batch(walked: Walk, names: list[str]) -> None:
    st.subheader("A batch as the network sees it", anchor=False)
    st.segmented_control(
        "Mixing",
        list(preview.MIXING),
        key="aug_mixing",
        format_func=preview.MIXING.get,
        required=True,
        help="With both, training tosses a coin for every batch.",
        persist_state="session",
    )
    text = preview.batch_text(walked)
    st.write(text)
    sheet = images.contact_sheet(walked.pixels(walked.last.name), columns=8, scale=4, gap=6)
    st.image(sheet, width="stretch", alt=f"the batch after all steps. {text}")
    mean, std = map(preview.channels_text, (walked.pipeline.mean, walked.pipeline.std))
    st.caption(
        f"Shown in natural colours. The network reads every pixel minus the mean ({mean}) over the "
        f"standard deviation ({std}) of red, green and blue, from 0 to 1."
    )
    with st.expander("The batch as a table"):
        st.dataframe(
            preview.batch_table(walked, names),
            hide_index=True,
            column_config={"Erased": st.column_config.NumberColumn(format="%.1f %%")},
        )


page()
