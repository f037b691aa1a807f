"""A study in a real browser: plan, start, reload in the middle, verdict, chart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from engine import runs
from engine.runs.run import Run, State
from engine.studies.study import Factor, Study, Value
from pages.ui.studies.opened import encode

SMALL = {"width": "0.05", "limit": "60", "holdout": "60", "batch_size": "20", "epochs": "2"}
BASE = {
    "data.dataset": "shapes", "model.arch": "resnet10", "model.width": 0.05, "epochs": 30,
    "data.limit": 60, "data.holdout": 60, "batch_size": 20, "precision": "fp32",
}  # fmt: skip


@pytest.mark.slow
def test_a_study_from_its_plan_to_its_chart(tab, server, settle, wait_for, known_speed, photograph):
    values = tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group"))
    question = "Does the norm matter here?"
    study = Study("journey", question, (Factor("Norm", values),), BASE, "batch", seeds=(0, 1))
    page = tab(f"/Studies?plan={encode(study)}")
    page.locator(".st-key-start_study button").wait_for()
    photograph(page, "study-plan")
    page.locator(".st-key-start_study button").click()
    page.wait_for_url("**/Studies?study=journey")
    page.locator(".st-key-study_chart canvas, .st-key-study_chart svg").first.wait_for()
    page.reload()  # in the middle: the files know the study
    page.get_by_role("heading", name=question).wait_for()
    wait_for(
        lambda: [r.status().state for r in runs.list_runs(server.runs)] == [State.FINISHED] * 4
    )
    page.locator(".st-key-resume_study, .st-key-pause_study").wait_for(state="detached")
    settle(page)
    assert page.locator(".st-key-verdict").inner_text()
    photograph(page, "study-finished")
    page.locator(".st-key-study_downloads button").click()
    with page.expect_download() as download:
        page.get_by_text("Chart (SVG)").click()
    svg = Path(download.value.path()).read_text()
    assert svg.startswith("<svg") and "group" in svg


@pytest.mark.slow
def test_home_to_a_running_study_in_four_clicks(tab, server, settle, wait_for, known_speed):
    page = tab("/")
    page.locator("[data-testid=stMain]").get_by_role("link", name="Ask a question").click()
    page.locator(".st-key-ask_activations-and-norms button").click()
    page.get_by_text("Data set", exact=True).wait_for()
    page.locator(".st-key-start_study button").click()
    page.wait_for_url("**/Studies?study=activations-and-norms")
    page.locator(".st-key-stop_study button").click()
    wait_for(lambda: all(r.status().state is State.STOPPED for r in members(server, "activations")))


@pytest.mark.slow
def test_ones_own_study_from_the_train_form(tab, server, settle, wait_for, known_speed, photograph):
    page = tab("/Train")
    for group in ("Validation and subset", "Activation, norm, width", "Learning rate, optimizer"):
        page.locator("summary").get_by_text(group).click()
        settle(page)
    for key, value in SMALL.items():
        page.locator(f".st-key-{key} input").fill(value)
        page.locator(f".st-key-{key} input").press("Enter")
        settle(page)
    page.locator(".st-key-vary_setting input").fill("Learning rate")  # filters the long list
    page.get_by_role("option", name="Learning rate", exact=True).click()
    page.wait_for_url("**/Studies*")
    photograph(page, "study-own")
    page.locator(".st-key-own_study button").click()
    page.locator(".st-key-draft_seeds input").fill("1")
    page.locator(".st-key-draft_seeds input").press("Enter")
    settle(page)
    page.locator(".st-key-start_study button").click()
    page.wait_for_url("**/Studies?study=lr")
    wait_for(lambda: [r.status().state for r in members(server, "lr-")] == [State.FINISHED] * 2)
    config = members(server, "lr-")[0].config()
    assert config.epochs == 2 and config.model.width == 0.05
    expect(page.locator(".st-key-verdict")).to_contain_text("cannot tell which value is better")


@pytest.mark.slow
def test_the_rate_of_each_value_is_chosen_first(tab, server, settle, wait_for, known_speed):
    dark_and_bright(server.data / "own" / "halves")
    base = {key: BASE[key] for key in ("model.arch", "model.width", "precision")}
    base |= {"data.dataset": str(server.data / "own" / "halves"), "batch_size": 12, "epochs": 1}
    values = tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group"))
    factor = Factor("Norm", values)
    study = Study("fair", "Which norm, each at its rate?", (factor,), base, "batch", seeds=(0,))
    page = tab(f"/Studies?plan={encode(study)}")
    page.get_by_text("A learning rate for each value").click()
    settle(page)
    page.locator(".st-key-start_study button").click()
    page.wait_for_url("**/Studies?study=fair")
    wait_for(lambda: [r.status().state for r in members(server, "fair-")] == [State.FINISHED] * 8)
    chosen = [run.config() for run in members(server, "fair-") if run.status().study == "fair"]
    used = {config.model.norm: config for config in chosen}
    shown = ", ".join(f"{norm} {used[norm].optim.lr:.3g}" for norm in ("batch", "group"))
    page.locator(".st-key-resume_study, .st-key-pause_study").wait_for(state="detached")
    settle(page)
    page.locator("summary").get_by_text("How sure is this?").click()
    expect(page.get_by_text(f"Each value has its own learning rate ({shown})")).to_be_visible()
    assert len(chosen) == 2 and not any(config.data.holdout for config in chosen)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_study_goes_on_after_the_server_was_killed(tab, server, settle, wait_for, known_speed):
    values = tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group"))
    base = BASE | {"epochs": 60}
    study = Study("killed", "Does it last?", (Factor("Norm", values),), base, "batch", seeds=(0,))
    page = tab(f"/Studies?plan={encode(study)}")
    page.get_by_text("In full", exact=True).click()
    settle(page)
    page.wait_for_timeout(2_000)  # the plan is drawn anew, and a click meanwhile would be lost
    settle(page)
    page.locator(".st-key-start_study button").click()
    first, second = (server.runs / name for name, _, _ in study.runs())
    wait_for(lambda: first.exists() and Run(first).status().epoch > 3, "some epochs")
    page.close()
    server.process.kill()
    server.process.wait()
    assert [Run(p).status().state for p in (first, second)] == [State.INTERRUPTED, State.QUEUED]
    server.start()
    page = tab("/Studies?study=killed")
    page.get_by_text("interrupted", exact=True).first.wait_for()
    page.locator(".st-key-resume_study button").click()
    wait_for(lambda: [r.status().state for r in members(server, "killed")] == [State.FINISHED] * 2)
    page.locator(".st-key-resume_study, .st-key-pause_study").wait_for(state="detached")
    expect(page.locator(".st-key-verdict")).not_to_contain_text("Interim")
    assert [epoch["epoch"] for epoch in Run(first).epochs()] == list(range(1, 61))


def members(server, prefix: str) -> list[Run]:
    return [run for run in runs.list_runs(server.runs) if run.name.startswith(prefix)]


def dark_and_bright(folder: Path) -> None:
    """A data set of two classes, 40 training and 20 test images."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 10)):
        for name, low in (("dark", 0), ("bright", 128)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(low, low + 128, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
