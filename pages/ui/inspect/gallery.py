"""Pictures that open their detail when they are clicked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.inspect.sample import Sample
from pages.ui import pictures
from pages.ui.images import enlarge
from pages.ui.text import markdown

PER_PAGE = 24
WHY = "why"  # the section with an image's detail

STYLE = """<style>
[class*="st-key-gallery_"] button {
  padding: 0.25rem; height: auto; min-height: 0; width: 7rem; align-items: flex-start;
}
[class*="st-key-gallery_"] button p {
  display: flex; flex-direction: column; gap: 0.2rem; align-items: center;
  font-size: 0.8rem; line-height: 1.25; white-space: normal; overflow-wrap: anywhere;
}
[class*="st-key-gallery_"] button img {
  width: 6rem !important; height: 6rem !important; max-height: none !important;
  margin: 0; object-fit: contain !important; image-rendering: pixelated; border-radius: 0.3rem;
}
</style>"""


@dataclass(frozen=True)
class Entry:
    """A picture of the sample, by its number in the split, with a short text below it."""

    number: int
    pixels: Any  # uint8 [3, 32, 32]
    text: str


def entries(sample: Sample, indices: list[int], texts: list[str]) -> list[Entry]:
    """Images of a sample, each with its text."""
    return [
        Entry(sample.numbers[i], sample.images[i], text)
        for i, text in zip(indices, texts, strict=True)
    ]


def choose_list(key: str, titles: dict[Any, str], default: Any) -> Any:
    """The choice of the pictures that a gallery shows. titles: by option."""
    return st.segmented_control(
        "Pictures",
        list(titles),
        default=default,
        required=True,
        key=key,
        format_func=titles.get,
        persist_state="session",
    )


def gallery(
    key: str, entries: list[Entry], heading: str = "", on_click: Callable[[int], None] | None = None
) -> None:
    """Pictures as buttons, PER_PAGE at once; a message if there are none.

    on_click: called with a picture's number when it is clicked; None: open its detail.
    """
    if not entries:
        st.info("No image is of this kind.")
        return
    pages = -(-len(entries) // PER_PAGE)
    page = 1
    if heading:
        st.markdown(heading)
    if pages > 1:
        page = st.pagination(pages, key=f"pages_{key}")
    st.html(STYLE)
    shown = entries[(page - 1) * PER_PAGE : page * PER_PAGE]
    with st.container(horizontal=True, key=f"gallery_{key}", gap="small"):
        for entry in shown:
            address = pictures.address(enlarge(entry.pixels, 1))
            st.button(
                f"![image {entry.number}]({address}) {markdown(entry.text)}",
                key=f"open_{key}_{entry.number}",
                help=None if on_click else f"Image {entry.number}: why this answer?",
                on_click=on_click or open_image,
                args=(entry.number,),
            )


def open_image(number: int) -> None:
    """Show an image's detail at the next rerun."""
    form = st.session_state
    form["came_from"] = form.get("section")
    form.update({"section": WHY, "image": number, "picture_from": "images", "opened": True})
