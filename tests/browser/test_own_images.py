"""A zip of own images, a fine-tuned network, and its answer, in a real browser."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from engine.data import own
from engine.runs.run import Run, State

pytestmark = pytest.mark.slow


def picture(kind: int, seed: int) -> bytes:
    """A red disc or blue stripes, each a little different."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    pixels = draw.integers(100, 156, (48, 64, 3))
    where = (x - 32) ** 2 + (y - 24) ** 2 < draw.integers(150, 400) if kind == 0 else x % 8 < 4
    pixels[where] = ((220, 40, 40), (40, 60, 220))[kind]
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_own_zip_fine_tune_classify(tab, server, settle, wait_for, photograph):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for kind, name in enumerate(("disc", "stripes")):
            for seed in range(20):
                archive.writestr(f"things/{name}/{seed}.png", picture(kind, seed))
    page = tab("/")
    page.get_by_role("link", name="Bring your own pictures").click()
    page.wait_for_url("**/Train*")
    settle(page)
    upload = page.locator("[data-testid=stFileUploaderDropzoneInput]")
    zipped = {"name": "things.zip", "mimeType": "application/zip", "buffer": content.getvalue()}
    upload.set_input_files([zipped])
    page.get_by_role("button", name="Use these").wait_for()
    settle(page)
    photograph(page, "own-preview")
    assert not own.list_sets(server.data)
    page.get_by_role("button", name="Use these").click()
    page.locator(".st-key-own_set").wait_for()
    settle(page)
    assert [path.name for path in own.list_sets(server.data)] == ["things"]
    page.locator(".st-key-own_fine_tune button").first.click()
    page.get_by_text("its last layer is replaced by a new one").wait_for()
    page.locator(".st-key-epochs input").fill("3")
    page.locator(".st-key-epochs input").press("Enter")
    settle(page)
    page.locator(".st-key-run_name input").fill("things")
    page.locator(".st-key-run_name input").press("Enter")
    settle(page)
    photograph(page, "own-fine-tune")
    page.locator(".st-key-start button").click()
    run = Run(server.runs / "things")
    wait_for(lambda: run.exists() and run.status().state is State.FINISHED)
    page.locator(".st-key-classify_with button").click()
    page.wait_for_url("**/Classify*")
    settle(page)
    photo = {"name": "new.png", "mimeType": "image/png", "buffer": picture(1, 99)}
    page.locator(".st-key-upload [data-testid=stFileUploaderDropzoneInput]").set_input_files(
        [photo]
    )
    page.wait_for_selector("article.card")
    assert page.locator("article.card .verdict").inner_text().startswith("stripes")
    photograph(page, "own-classified")
