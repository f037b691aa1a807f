"""A row of sample pictures, so that the first answer needs no file."""

from __future__ import annotations

import io

import streamlit as st
from PIL import Image

from engine.data import shapes
from engine.data.progress import Watch
from engine.predict import to_image
from pages.ui import pictures
from pages.ui.classify.pictures import File
from pages.ui.scenes import SCENES
from pages.ui.text import markdown

CHOSEN = "classify_sample"  # the class of the chosen sample, in the session's state
SHAPES_SEARCHED = 100  # test images of the built-in shapes, among which each class occurs
THUMB = 96  # pixels of a button's picture, at most

STYLE = """<style>
.st-key-samples {
  flex-wrap: nowrap !important; overflow-x: auto; padding: 2px; scrollbar-width: thin;
}
.st-key-samples button { padding: 0.3rem; min-height: 0; height: auto; width: 5.25rem; }
.st-key-samples button p {
  display: flex; flex-direction: column; gap: 0.2rem; align-items: center;
  font-size: 0.8rem; line-height: 1.2;
}
.st-key-samples button img {
  width: 4.5rem !important; height: 4.5rem !important; max-height: none !important;
  margin: 0; border-radius: 0.3rem;
}
.st-key-samples button[kind="primary"] {
  background: transparent; color: inherit; outline: 2px solid light-dark(#2563eb, #7aa7ff);
}
</style>"""


def offered(classes: tuple[str, ...]) -> dict[str, File]:
    """Samples by class: those of the classes that a network knows."""
    made = _shapes() if classes == shapes.CLASSES else _scenes()
    return {name: made[name] for name in classes if name in made}


def row(classes: tuple[str, ...]) -> None:
    """The samples as buttons; a click chooses one, a second click puts it back."""
    found = offered(classes)
    if not found:
        return
    st.caption(
        "No picture at hand? Try a test image of the built-in shapes:"
        if classes == shapes.CLASSES
        else "No picture at hand? Try one of these, drawn by this app, which are no photographs:"
    )
    st.html(STYLE)
    with st.container(horizontal=True, gap="xsmall", key="samples"):
        for name, file in found.items():
            st.button(
                f"![drawn]({_thumb(file.read())}) {markdown(name)}",
                key=f"sample_{name}",
                type="primary" if st.session_state.get(CHOSEN) == name else "secondary",
                on_click=choose,
                args=(name,),
            )


def choose(name: str) -> None:
    """Choose a sample, or put it back if it is chosen."""
    st.session_state[CHOSEN] = None if st.session_state.get(CHOSEN) == name else name


def put_back() -> None:
    st.session_state[CHOSEN] = None


def chosen(classes: tuple[str, ...]) -> list[File]:
    """The chosen sample; an empty list if there is none of these classes."""
    file = offered(classes).get(st.session_state.get(CHOSEN))
    return [file] if file else []


@st.cache_resource(show_spinner=False)
def _scenes() -> dict[str, File]:
    return {name: _file(name, draw(), "drawn by this app") for name, draw in SCENES.items()}


@st.cache_resource(show_spinner=False)
def _shapes() -> dict[str, File]:
    """The first test image of each class of the built-in shapes."""
    images, labels = shapes.draw(SHAPES_SEARCHED, shapes.SEED, 1, Watch())
    firsts = {name: labels.tolist().index(i) for i, name in enumerate(shapes.CLASSES)}
    about = "test image {} of the built-in shapes"
    return {name: _file(name, to_image(images[i]), about.format(i)) for name, i in firsts.items()}


def _file(name: str, image: Image.Image, about: str) -> File:
    content = io.BytesIO()
    image.save(content, "PNG")
    return File(f"sample_{name}", name, content.getvalue, about, truth=name)


@st.cache_data(show_spinner=False, max_entries=64)
def _thumb(content: bytes) -> str:
    image = Image.open(io.BytesIO(content))
    if image.width <= THUMB // 2:
        return pictures.address(image.resize((THUMB, THUMB), Image.Resampling.NEAREST))
    image.thumbnail((THUMB, THUMB))
    return pictures.address(image)
