"""Inspect in a real browser: from the first start to the reason for an answer; two networks."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from engine import runs
from engine.config import with_fields
from engine.data.shapes import CLASSES
from engine.models import build_model
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import State

HEATMAPS = 3
IMAGES = "[data-testid=stImage] img"


def test_from_the_first_start_to_the_reason_for_an_answer(tab, settle, photograph):
    page = tab("/")
    main = page.locator("[data-testid=stMain]")
    main.get_by_role("link", name="Look inside a network").click()  # 1
    chart = page.locator(".st-key-confusion canvas, .st-key-confusion svg").first
    chart.wait_for()
    settle(page)
    photograph(page, "inspect-errors")
    cells = page.locator(".st-key-confusion [aria-roledescription='rect mark']")
    names = cells.evaluate_all("cells => cells.map(cell => cell.getAttribute('aria-label'))")
    index, predicted, label = last_confusion(names)
    place = cells.nth(index).bounding_box()  # on its number, in the middle
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)  # 2
    heading = f"images? of {label} called {predicted}"
    expect(page.get_by_text(re.compile(heading))).to_be_visible()
    settle(page)
    page.locator("[class*='st-key-gallery_cell'] button").first.click()  # 3
    expect(page.get_by_text(f"Correct label: {label}")).to_be_visible()
    settle(page)
    expect(page.get_by_text("Grad-CAM")).to_be_visible()
    assert page.locator(IMAGES).count() >= 1 + HEATMAPS
    photograph(page, "inspect-why")


def last_confusion(names: list[str]) -> tuple[int, str, str]:
    """Index, prediction and label of the last cell off the diagonal that has images.

    Not of the cell that the page begins with, where there are others.
    """
    pattern = re.compile(r"Predicted: (.+); True class: (.+); Share.*Images: ([\d,]+)")
    found = [pattern.fullmatch(name).groups() for name in names]
    return max(
        (index, predicted, label)
        for index, (predicted, label, images) in enumerate(found)
        if predicted != label and images != "0"
    )


def test_two_networks_are_compared_in_a_sentence(tab, server, settle, tiny, photograph):
    guessing_run(server.runs, "guessing", tiny)
    page = tab("/Inspect?section=Two+networks")
    page.locator(".st-key-second_network input").click()
    page.get_by_role("option", name=re.compile("guessing")).click()
    expect(page.get_by_text(re.compile("A is right where B is wrong on .* p [=<]"))).to_be_visible()
    settle(page)
    expect(page.get_by_text("Grad-CAM for this answer").first).to_be_visible()
    photograph(page, "inspect-two")


def test_every_section_fits_a_phone_in_the_dark(tab, settle, photograph):
    page = tab("/Inspect", dark=True, width=390)
    for title in ("Where it errs", "How sure it is", "What it learned", "Corrupted images"):
        page.get_by_role("radio", name=title).click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, title
        photograph(page, f"inspect-phone-{title.split()[-1]}")


def guessing_run(root, name: str, tiny) -> None:
    """A finished run on the shapes whose network has its first weights."""
    config = with_fields(tiny(), {"data.dataset": "shapes", "model.num_classes": 10})
    run = runs.create(root, name, config)
    model = build_model(**config.model.arguments, seed=0)
    info = {"name": "shapes", "classes": CLASSES, "mean": [0.5] * 3, "std": [0.25] * 3}
    with run.hold("a test") as writer:
        writer.save_config(config, info)
        writer.update(state=State.FINISHED)
    CheckpointStore(run.path, describe_model(config.model)).save(1, model.state_dict(), {})
