"""What people do with the app, in a real browser: one server, journeys in order of a first day."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from bench.ui import SELECT_ALL, TABLE, write_run
from engine import runs
from engine.runs.run import Run, State

# A run that lasts as long as a journey needs, but not an hour: then the app asks before the start.
LONG = {"limit": "400", "holdout": "40", "batch_size": "16", "epochs": "1000"}
CURVE = ".st-key-live_accuracy canvas, .st-key-live_accuracy svg"


@pytest.fixture
def start(tab, settle, server, known_speed):
    """start("name") opens Train as a newcomer, asks for a small long run and starts it."""

    def go(name: str, **changes: str):
        page = tab("/Train")
        unfold(page, settle, "Validation and subset", "Learning rate, optimizer, seed")
        for key, value in (LONG | changes).items():
            page.locator(f".st-key-{key} input").fill(value)
            page.locator(f".st-key-{key} input").press("Enter")
            settle(page)
        page.locator(".st-key-run_name input").fill(name)
        page.locator(".st-key-run_name input").press("Enter")
        settle(page)
        page.locator(".st-key-start button").click()
        return page

    yield go
    for run in runs.list_runs(server.runs):
        if run.status().state is State.RUNNING:
            run.request("stop")
    deadline = time.monotonic() + 60
    while any(r.status().state is State.RUNNING for r in runs.list_runs(server.runs)):
        assert time.monotonic() < deadline, "a run did not stop"
        time.sleep(0.1)


def unfold(page, settle, *groups: str) -> None:
    """Open groups of the Train form."""
    for group in groups:
        page.locator("summary").get_by_text(group).click()
        settle(page)


def status(server, name: str):
    return Run(server.runs / name).status()


def test_from_the_first_visit_to_a_moving_curve_in_one_click(tab, server, wait_for, photograph):
    page = tab("/")
    page.get_by_role("button", name="Train your first network").click()
    page.wait_for_url("**/Train*")
    page.wait_for_selector(CURVE)
    run = Run(server.runs / "my-first-network")  # 32 steps of the server's few shapes
    wait_for(lambda: run.status().state is State.FINISHED)
    page.wait_for_selector("text=See its errors")
    photograph(page, "first-network")
    runs.delete(run)


def test_first_visit_start_watch_stop(start, tab, server, wait_for, photograph):
    home = tab("/")
    expect(home.get_by_role("button", name="Train your first network")).to_be_visible()
    photograph(home, "home-first")
    page = start("journey")
    page.wait_for_selector(CURVE)
    first = wait_for(lambda: len(Run(server.runs / "journey").records()[0]))
    wait_for(lambda: len(Run(server.runs / "journey").records()[0]) > first + 5)
    page.wait_for_selector("text=/Epoch \\d+ of 1000/")
    photograph(page, "train-live")
    page.locator(".st-key-stop button").click()
    page.wait_for_selector("text=/Stopping|Stopped after/", timeout=5_000)
    wait_for(lambda: status(server, "journey").state is State.STOPPED)
    page.wait_for_selector("text=Stopped after")


@pytest.mark.slow
def test_reload_second_tab_and_coming_back_see_the_same_run(start, tab, server, settle):
    page = start("shared")
    page.wait_for_selector(CURVE)
    page.reload()
    page.wait_for_selector(CURVE)
    assert page.get_by_role("heading", name="shared").is_visible()
    second = tab("/Train")
    second.wait_for_selector(CURVE)
    assert second.get_by_role("heading", name="shared").is_visible()
    page.close()
    second.close()
    step = status(server, "shared").step
    later = tab("/Train")
    later.wait_for_selector(CURVE)
    assert status(server, "shared").state is State.RUNNING
    assert status(server, "shared").step > step


@pytest.mark.slow
def test_a_reload_loses_neither_the_choices_nor_an_ended_run(tab, server, settle):
    write_run(server.runs, "ended", 3, lr=0.1)
    page = tab("/Train?run=ended")
    unfold(page, settle, "Probabilities and strengths", "Learning rate, optimizer, seed")
    for key, value in (("epochs", "7"), ("batch_size", "48")):
        page.locator(f".st-key-{key} input").fill(value)
        page.locator(f".st-key-{key} input").press("Enter")
        settle(page)
    page.locator(".st-key-augment").get_by_text("Mixup").click()
    settle(page)
    entries = page.evaluate("history.length")
    page.reload()
    expect(page.locator(".st-key-epochs input")).to_have_value("7", timeout=30_000)
    expect(page.locator(".st-key-batch_size input")).to_have_value("48")
    settle(page)
    assert page.locator(".st-key-mixup_alpha").is_visible()
    assert page.get_by_role("heading", name="ended").is_visible()
    page.locator(".st-key-close button").click()
    page.locator(".st-key-close").wait_for(state="detached")
    settle(page)
    page.reload()
    expect(page.locator(".st-key-epochs input")).to_have_value("7", timeout=30_000)
    settle(page)
    assert page.get_by_role("heading", name="ended", exact=True).count() == 0
    assert page.evaluate("history.length") == entries, "the Back button would only undo choices"
    page.get_by_role("link", name="Runs", exact=True).first.click()
    settle(page)
    page.wait_for_url("**/Runs*")
    assert "choices" not in page.url


@pytest.mark.slow
def test_a_queue_of_two_trains_one_after_the_other(start, server, settle, wait_for):
    page = start("one", epochs="60", limit="48")
    page.wait_for_selector(CURVE)
    page.locator(".st-key-run_name input").fill("two")
    page.locator(".st-key-run_name input").press("Enter")
    settle(page)
    page.locator(".st-key-queue button").click()
    wait_for(lambda: (server.runs / "two").exists())
    wait_for(lambda: status(server, "two").state is State.FINISHED)
    assert status(server, "one").state is State.FINISHED


@pytest.mark.slow
def test_a_run_started_in_a_terminal_appears_live(tab, server, python, tiny_args, wait_for):
    page = tab("/Train")
    words = tiny_args(server.runs, "--name", "terminal", "-e", 3000)
    child = python("import train; raise SystemExit(train.main(WORDS))", WORDS=words)
    page.wait_for_selector(CURVE)
    assert page.get_by_role("heading", name="terminal").is_visible()
    page.locator(".st-key-stop button").click()
    page.wait_for_selector("text=Stopped after")
    assert child.wait() == 0
    assert status(server, "terminal").state is State.STOPPED


def test_a_deep_link_opens_a_run(tab, server, photograph):
    write_run(server.runs, "linked", 3, lr=0.1)
    page = tab("/Runs?run=linked")
    page.wait_for_selector(CURVE)
    assert page.get_by_role("heading", name="linked").is_visible()
    photograph(page, "runs-deep-link")


def test_good_and_bad_uploads_side_by_side(tab, photograph):
    page = tab("/Classify")
    picture = io.BytesIO()
    Image.new("RGB", (60, 40), "orange").save(picture, "PNG")
    page.locator(".st-key-upload [data-testid=stFileUploaderDropzoneInput]").set_input_files(
        [
            {"name": "good.png", "mimeType": "image/png", "buffer": picture.getvalue()},
            {"name": "bad.png", "mimeType": "image/png", "buffer": b"no picture at all"},
        ]
    )
    page.wait_for_selector("article.card")
    assert page.locator("article.card").count() == 1
    assert page.locator("article.card .bar").count() == 5
    assert page.get_by_text("not a PNG").is_visible()
    photograph(page, "classify-uploads")


def test_classify_a_sample_picture(tab, settle, photograph):
    page = tab("/Classify")
    page.locator(".st-key-sample_ship button").click()
    page.wait_for_selector("article.card")
    settle(page)
    assert page.locator("article.card .verdict").inner_text().startswith("ship")
    page.get_by_text("Why?").click()
    page.get_by_text("Grad-CAM").wait_for()
    page.locator("[data-testid=stExpander] img").wait_for()  # the only one, or this raises
    photograph(page, "classify-sample")


@pytest.mark.slow
def test_take_a_photo_and_crop_it(tab, settle, photograph):
    page = tab("/Classify")
    assert page.locator("video").count() == 0
    page.get_by_text("Take a photo").click()
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")  # has a picture
    settle(page)
    page.get_by_role("button", name="Take Photo").click()
    page.wait_for_selector("article.card")
    settle(page)
    page.get_by_text("Rotate and crop").click()
    page.get_by_text("Crop to a square").click()
    page.get_by_text("cropped to").wait_for()
    settle(page)
    side = page.get_by_role("spinbutton", name="Side")
    side.fill("100")
    side.press("Enter")
    page.get_by_text("cropped to 100×100 pixels").wait_for()
    settle(page)
    assert page.locator("article.card img").count() == 3
    page.get_by_role("button", name="Rotate by 90°").click()
    page.get_by_text("rotated by 90°, cropped to 100×100").wait_for()
    settle(page)
    photograph(page, "classify-photo")


@pytest.mark.slow
def test_a_long_training_asks_first(tab, server, settle):
    (server.runs / ".throughput.json").unlink(missing_ok=True)
    page = tab("/Train")
    page.locator(".st-key-preset").get_by_text("Study").click()
    settle(page)
    page.wait_for_selector("text=/About .* on this machine/")
    page.locator(".st-key-start button").click()
    page.wait_for_selector(".st-key-start_anyway button")
    assert not [r for r in runs.list_runs(server.runs) if r.name.startswith("resnet18")]


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("place", ["", "Train", "Runs", "Augmentations", "Classify"])
def test_every_page_in_both_themes(tab, place, dark, photograph, settle):
    page = tab(f"/{place}", dark=dark)
    page.wait_for_timeout(1_000)  # charts and images arrive after the script has run
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("h1").count() == 1
    photograph(page, f"{place or 'Home'}-{'dark' if dark else 'light'}")


@pytest.mark.slow
def test_a_phone_can_read_every_page(tab, photograph):
    for place in ("", "Train", "Runs", "Augmentations", "Classify"):
        page = tab(f"/{place}", width=390, dark=True)
        assert page.locator("[data-testid=stException]").count() == 0
        assert page.locator("h1").count() == 1
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{place or 'Home'} is {overflow} pixels too wide"
        photograph(page, f"{place or 'Home'}-phone")


@pytest.mark.slow
def test_selected_runs_stay_selected_when_others_come_before_them(tab, server, settle, photograph):
    """Of a table Streamlit keeps the numbers of rows, which are soon other runs' numbers."""
    write_run(server.runs, "kept-a", 3, lr=0.1)
    write_run(server.runs, "kept-b", 3, lr=0.2)
    page = tab("/Runs")
    page.get_by_label("Filter").fill("kept")
    page.get_by_label("Filter").press("Enter")
    settle(page)
    page.wait_for_timeout(2_000)  # the filtered table, drawn and at rest
    corner = page.locator(TABLE).first.bounding_box()
    page.mouse.click(corner["x"] + SELECT_ALL[0], corner["y"] + SELECT_ALL[1])
    told = "text=These runs differ in one setting: Learning rate."
    page.wait_for_selector(told)
    write_run(server.runs, "kept-new", 3, lr=0.2)
    page.get_by_text("Only what differs").click()
    settle(page)
    page.wait_for_timeout(2_000)
    photograph(page, "runs-selected")
    assert page.locator(told).is_visible()  # not the first two rows, which differ in nothing
