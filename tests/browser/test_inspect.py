"""Inspect in a real browser: from the first start to the reason for an answer; two networks."""

from __future__ import annotations

import contextlib
import re
import shutil
import zipfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from playwright.sync_api import expect

from engine import runs
from engine.config import with_fields
from engine.data.shapes import CLASSES
from engine.models import build_model
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import Run, State
from pages.ui import folders

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


@pytest.mark.slow
def test_two_shipped_networks_are_compared(tab, server, settle, cifar10, photograph):
    first, second = networks_of_equal_classes(server.runs)
    network = quote(f"pretrained/{first.name} · last")
    page = tab(f"/Inspect?section=Two+networks&network={network}&data=Own+folder+or+zip")
    path = page.get_by_label("Path of class folders")
    path.fill(str(cifar10))
    path.press("Enter")
    settle(page)
    page.locator(".st-key-second_network input").click()
    page.get_by_role("option", name=re.compile(rf"\b{re.escape(second.name)} · last")).click()
    expect(page.get_by_text(re.compile("A is right where B is wrong on .* p [=<]"))).to_be_visible()
    names = re.compile(f"A: .*{first.name}.* B: .*{re.escape(second.name)}")
    expect(page.get_by_text(names)).to_be_visible()
    settle(page)
    page.locator(".st-key-two_list button", has_text=re.compile(r"\([1-9]")).first.click()
    expect(page.get_by_text("Grad-CAM for this answer")).to_have_count(2)
    photograph(page, "inspect-shipped")


@pytest.mark.slow
def test_every_section_fits_a_phone_in_the_dark(tab, settle, photograph):
    page = tab("/Inspect", dark=True, width=390)
    for title in ("Where it errs", "How sure it is", "What it learned", "Corrupted images"):
        page.get_by_role("radio", name=title).click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, title
        photograph(page, f"inspect-phone-{title.split()[-1]}")


@pytest.fixture(scope="module")
def cifar10(zip_if_here, tmp_path_factory) -> Path:
    """Class folders with a few pictures of CIFAR-10 or, where it is not, noise under its names."""
    folder, draw = tmp_path_factory.mktemp("cifar10"), np.random.default_rng(0)
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(zip_if_here)) if zip_if_here else None
        for name in Run(folders.SHIPPED / "speedrun-wide").dataset_info()["classes"]:
            for place in (
                f"train/{name}/0000.jpg",
                *(f"test/{name}/{n:04}.jpg" for n in range(20)),
            ):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                if archive:
                    (folder / place).write_bytes(archive.read(place))
                else:
                    pixels = draw.integers(256, size=(32, 32, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / place)
    return folder


def networks_of_equal_classes(root) -> tuple[Run, Run]:
    """Two shipped networks for CIFAR-10; where there is one, and a changed copy of it in `root`."""
    wide = Run(folders.SHIPPED / "speedrun-wide")
    classes = wide.dataset_info()["classes"]
    for other in runs.list_runs(folders.SHIPPED):
        if other.name != wide.name and other.dataset_info()["classes"] == classes:
            return wide, other
    copy = shutil.copytree(wide.path, root / "changed-copy")
    state = safetensors.torch.load_file(copy / "last.safetensors")
    draw = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            noise = torch.randn(tensor.shape, generator=draw) * tensor.float().std()
            state[name] = (tensor + 0.3 * noise).to(tensor.dtype)
    CheckpointStore(copy, describe_model(wide.config().model)).save(1, state, {})
    return wide, Run(copy)


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
