"""A card for each step of the pipeline (picture, slider, explanation), and the whole batch."""

from __future__ import annotations

import streamlit as st
from PIL.Image import Image

from pages.ui import images
from pages.ui.augmentations import charts, preview
from pages.ui.augmentations.preview import Trace
from pages.ui.text import markdown, percent

ALPHA = (
    "λ, the weight of this image, is drawn from Beta(α, α). With a small α most images are mixed "
    "little; with α = 1 every λ from 0 to 1 is equally likely."
)
RESNET = ("Deep Residual Learning for Image Recognition", "1512.03385")
ERASING = ("Random Erasing Data Augmentation", "1708.04896")
MIXUP = ("mixup: Beyond Empirical Risk Minimization", "1710.09412")
CUTMIX = (
    "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    "1905.04899",
)


def original(traced: Trace, names: list[str], count: int) -> None:
    name = names[int(traced.stages["input"].targets_a[0])]
    picture = images.beside(traced.picture("input"))
    st.image(picture, width="stretch", alt=f"the original image: {name}")
    which = "" if name == names[-1] else f"image {st.session_state['aug_image']:,} of {count:,}, "
    st.markdown(f"**{markdown(name)}**, {which}32 × 32 px")


def crop(traced: Trace) -> None:
    st.subheader("2 · Random crop", anchor=False)
    text = preview.moved_text(traced)
    show(preview.cropped(traced), text.capitalize(), "the padded image; the frame marks the crop")
    st.slider("Padding (pixels)", 0, 16, step=1, key="aug_padding", persist_state="session")
    explain(
        "Pads the image with black and crops a random window of 32 × 32 pixels, so that the "
        "network recognizes an object wherever it is in the image.",
        RESNET,
    )


def flip(traced: Trace) -> None:
    st.subheader("3 · Flip", anchor=False)
    text = "Mirrored" if traced.params.flip.flipped[0] else "Not mirrored this time"
    show(preview.flipped(traced), text, "before this step")
    st.slider(
        "Probability",
        0.0,
        1.0,
        step=0.05,
        format="percent",
        key="aug_flip",
        persist_state="session",
    )
    explain("Mirrors the image at random: a ship is a ship whichever way it sails.", RESNET)


def erasing(traced: Trace) -> None:
    st.subheader("4 · Random erasing", anchor=False)
    show(preview.erased(traced), preview.erased_text(traced), "before this step")
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
        "Fills a random rectangle with the mean color, so that the network cannot rely on a "
        "single detail.",
        ERASING,
    )
    eraser, area = traced.pipeline.erasing, preview.erased_share(traced)
    often = charts.erased_often(eraser)
    st.markdown(f"**Area erased**, in {often:,} of {charts.SAMPLES:,} images")
    st.vega_lite_chart(
        charts.area_rows(eraser, area),
        charts.AREA_SPEC,
        alt=f"histogram of the erased area; in this image {percent(area, 1)} is erased",
    )


def mixup(traced: Trace, names: list[str]) -> None:
    st.subheader("5a · Mixup", anchor=False)
    lam = traced.last.lam
    text = f"{percent(lam, 1)} this image, {percent(1 - lam, 1)} its partner"
    show(preview.mixed(traced), text, partners(traced, names))
    st.slider("Mixup α", 0.05, 2.0, step=0.05, key="alpha", help=ALPHA, persist_state="session")
    explain(
        "Blends two images, and their labels in the same proportion, so that predictions change "
        "gradually from one class to the other.",
        MIXUP,
    )
    label_and_density(traced, traced.pipeline.mixup.alpha, names)


def cutmix(traced: Trace, names: list[str]) -> None:
    st.subheader("5b · CutMix", anchor=False)
    text = preview.box_text(traced.params.cutmix)
    show(preview.mixed(traced), text, partners(traced, names))
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
        "Pastes a box from another image and mixes the labels in proportion to the areas, so that "
        "the network also learns from parts of objects.",
        CUTMIX,
    )
    label_and_density(traced, traced.pipeline.cutmix.alpha, names)


def partners(traced: Trace, names: list[str]) -> str:
    first, second = (names[int(t[0])] for t in (traced.last.targets_a, traced.last.targets_b))
    return f"this image ({first}), its partner ({second})"


def show(picture: Image, outcome: str, beside: str) -> None:
    """Show a step's picture, its outcome for this seed, and a legend of the small pictures."""
    st.image(picture, width="stretch", alt=f"{outcome}. On the right: {beside}")
    st.markdown(f"**{outcome}**  \n:small[Right: {markdown(beside)}]")


def label_and_density(traced: Trace, alpha: float, names: list[str]) -> None:
    stage = traced.last
    parts = preview.soft_label(stage, names)
    st.markdown("**Soft label**: the target that the network is trained on")
    st.vega_lite_chart(
        charts.label_rows(parts),
        charts.LABEL_SPEC,
        alt=f"soft label: {preview.label_text(parts)}",
    )
    cut = "" if traced.params.cutmix is None else "; clipping the box at the border increases it"
    st.markdown(f"**λ = {stage.lam:.3f}**, drawn from Beta({alpha:g}, {alpha:g}){cut}")
    st.vega_lite_chart(
        charts.beta_rows(alpha, stage.lam),
        charts.BETA_SPEC,
        alt=f"density of Beta({alpha:g}, {alpha:g}); this batch has λ = {stage.lam:.3f}",
    )


def explain(sentence: str, paper: tuple[str, str]) -> None:
    title, number = paper
    st.caption(f"{sentence} [{title}](https://arxiv.org/abs/{number}), arXiv {number}.")


def whole_batch(traced: Trace, names: list[str]) -> None:
    st.subheader("A batch as the network sees it", anchor=False)
    st.segmented_control(
        "Mixing",
        list(preview.MIXING),
        key="aug_mixing",
        format_func=preview.MIXING.get,
        required=True,
        help="Either: each batch gets Mixup or CutMix, with equal probability.",
        persist_state="session",
    )
    text = preview.batch_text(traced)
    st.write(text)
    sheet = images.contact_sheet(traced.pixels(traced.last.name), columns=8, scale=4, gap=6)
    st.image(sheet, width="stretch", alt=f"the batch after all steps. {text}")
    mean, std = map(preview.channels_text, (traced.pipeline.mean, traced.pipeline.std))
    st.caption(
        "Shown before normalization. The network receives normalized pixels: red, green and blue "
        f"from 0 to 1, minus their mean ({mean}), divided by their standard deviation ({std})."
    )
    with st.expander("The batch as a table", key="batch_table"):
        st.dataframe(
            preview.batch_table(traced, names),
            hide_index=True,
            column_config={"Erased": st.column_config.NumberColumn(format="%.1f %%")},
        )
