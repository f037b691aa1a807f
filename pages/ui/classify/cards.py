"""Classified pictures as HTML. Pure: no `st.` call. All untrusted text is escaped here."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from pages.ui.classify.edits import UNCHANGED, Edit
from pages.ui.images import enlarge

STYLE = Path(__file__).with_name("cards.css")
UNSURE = 0.5  # below this top-1 probability, the picture may show none of the classes
MARGIN = 0.2  # below this lead over the second class, the answer is in doubt
CLOSE = 1 / 3  # of the top-1 probability: classes from here up are alternatives to it
NAMED = 2  # alternatives
THUMB = 224  # pixels; twice the displayed size, for high-density screens
SMALL = 64  # pixels; pictures up to this size are shown without smoothing


@dataclass(frozen=True)
class Picture:
    """One picture: its texts and thumbnail, and the network's input."""

    name: str  # never a path; shown escaped
    about: str  # its size, and what was done to it
    thumb: str  # data: URL; empty if the picture is the network's input
    small: bool  # show the thumbnail without smoothing
    inputs: dict[str, np.ndarray]  # uint8 [3, 32, 32], by fit
    truth: str = ""  # its class, if that is known
    key: str = ""  # unique among those shown
    square: str = ""  # data: URL of the square that was cropped
    size: tuple[int, int] = (0, 0)  # of a file's picture after rotation, in pixels
    edit: Edit = UNCHANGED


@dataclass(frozen=True)
class Answer:
    """One network's prediction for one picture."""

    network: str
    top: list[tuple[str, float]]  # (label, probability), most likely first
    classes: tuple[str, ...]  # all classes of the network
    alternatives: tuple[tuple[str, float], ...] = ()  # if it is in doubt; see could_be

    @property
    def label(self) -> str:
        return self.top[0][0]

    @property
    def unsure(self) -> bool:
        return self.top[0][1] < UNSURE

    @property
    def doubt(self) -> str:
        """A sentence about what the network is not sure about; empty if it is sure."""
        if not self.alternatives:
            return "Not sure, though no other class comes close." if self.unsure else ""
        named = [f"{label} ({percent(value)})" for label, value in self.alternatives[:NAMED]]
        if more := len(self.alternatives[NAMED:]):
            named.append(f"one of {more} more classes" if more > 1 else "one more class")
        listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"
        return f"Not sure: it could also be {listed}."


def could_be(ranked: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Alternatives to the first of all (label, probability), most likely first.

    None if its probability is at least UNSURE, and MARGIN above the second one's.
    """
    best, second = ranked[0][1], ranked[1][1] if len(ranked) > 1 else 0.0
    if best >= UNSURE and best - second >= MARGIN:
        return []
    return [(label, value) for label, value in ranked[1:] if value >= CLOSE * best]


def comparable(answers: list[Answer]) -> bool:
    """Whether there are two answers, by networks with a class in common."""
    return len(answers) == 2 and not set(answers[0].classes).isdisjoint(answers[1].classes)


def agree(answers: list[Answer]) -> bool:
    return len({answer.label for answer in answers}) == 1


def percent(probability: float) -> str:
    """With one decimal, but never 0 or 100 %, which a softmax does not reach."""
    if probability > 0.9995:
        return "> 99.9 %"
    return f"{100 * probability:.1f} %" if probability >= 0.0005 else "< 0.1 %"


def data_address(image: Image.Image, kind: str = "PNG") -> str:
    """The image as a data: URL, so that a card is self-contained."""
    file = io.BytesIO()
    image.save(file, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def class_list(classes: Iterable[str], heading: str = "") -> str:
    chips = "".join(f"<span>{escape(name)}</span>" for name in classes)
    return f'<div class="classes">{escape(heading)}{chips}</div>'


def card(picture: Picture, answers: list[Answer], fit: str) -> str:
    """A picture with the answers to it."""
    name = escape(picture.name)
    head = f'<span class="name">{name}</span><span class="about">{escape(picture.about)}</span>'
    if picture.truth:
        head += f"<span>correct: <b>{escape(picture.truth)}</b></span>"
    if comparable(answers):
        same = agree(answers)
        kind, text = ("good", "Both agree") if same else ("bad", "They differ")
        head += f'<span class="{kind}">{text}</span>'
    seen = data_address(enlarge(picture.inputs[fit], 1))
    figures = _figure(seen, f"{name} as the network sees it", "32×32 input", pixels=True)
    if picture.square:
        figures = _figure(picture.square, f"the square cropped from {name}", "Square") + figures
    if picture.thumb:
        figures = _figure(picture.thumb, name, "Original", pixels=picture.small) + figures
    warned = any(answer.unsure for answer in answers)  # aligns the bars of two networks
    sections = "".join(_section(a, picture.truth, len(answers) > 1, warned) for a in answers)
    return (
        f'<article class="card"><header>{head}</header><div class="pictures">{figures}</div>'
        f'<div class="answers">{sections}</div></article>'
    )


def _figure(address: str, alt: str, caption: str, *, pixels: bool = False) -> str:
    kind = ' class="pixels"' if pixels else ""
    image = f'<img{kind} src="{address}" alt="{alt}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _section(answer: Answer, truth: str, named: bool, warned: bool) -> str:
    mark = ""
    if truth in answer.classes:
        kind, text = ("good", "✓ right") if answer.label == truth else ("bad", "✗ wrong")
        mark = f' <span class="{kind}">{text}</span>'
    parts = [f'<div class="network">{escape(answer.network)}</div>'] if named else []
    parts.append(f'<div class="verdict">{escape(answer.label)}{mark}</div>')
    if warned:
        warning = "May be none of these classes" if answer.unsure else "&nbsp;"
        parts.append(f'<div class="unsure">{warning}</div>')
    rows = "".join(_row(label, probability) for label, probability in answer.top)
    doubt = f'<div class="doubt">{escape(answer.doubt)}</div>' if answer.doubt else ""
    return f"<section>{''.join(parts)}<ol>{rows}</ol>{doubt}</section>"


def _row(label: str, probability: float) -> str:
    text, value = escape(label), escape(percent(probability))
    return (
        f'<li><span class="label" title="{text}">{text}</span><span class="track">'
        f'<span class="bar" style="width:{100 * probability:.2f}%"></span></span>'
        f'<span class="value">{value}</span></li>'
    )
