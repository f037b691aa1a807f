"""By keys alone: from Home to a training, its curve, its end, and on to another page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from engine import runs
from engine.config import SETTINGS
from engine.runs.run import Run, State

CURVE = ".st-key-live_accuracy canvas, .st-key-live_accuracy svg"
MOST = 60  # presses of Tab from one place of a page to another
# [what is focused, whether that is seen]: by a ring, or by the border, in the accent color, of the
# field around it.
FOCUS = """() => {
  const element = document.activeElement;
  const name = element.getAttribute("aria-label") || element.innerText;
  const ring = style => style.outlineStyle !== "none" || style.boxShadow !== "none";
  const border = style =>
    style.borderTopWidth !== "0px" && style.borderTopColor === "rgb(29, 78, 216)";
  let seen = ring(getComputedStyle(element)), around = element;
  for (let i = 0; i < 4 && around; i++, around = around.parentElement)
    seen ||= border(getComputedStyle(around));
  return [name.split("\\n").pop().trim(), seen];
}"""


def tab_to(page: Page, name: str, most: int = MOST) -> list[str]:
    """Press Tab until this is focused, visibly; the names of what was passed."""
    passed = []
    for _ in range(most):
        page.keyboard.press("Tab")
        focused, seen = page.evaluate(FOCUS)
        if focused == name:
            assert seen, f"the focus of {name} is not visible"
            return passed
        passed.append(focused)
    raise AssertionError(f"{name} is not reached; passed {passed}")


@pytest.fixture
def stopped(server, wait_for):
    """Afterwards, the run of the journey has ended and is deleted."""
    yield
    for run in runs.list_runs(server.runs):
        run.request("stop")
        wait_for(lambda run=run: run.status().state not in (State.RUNNING, State.QUEUED))
        runs.delete(run)


@pytest.mark.slow
def test_a_training_from_start_to_stop(tab, server, settle, known_speed, wait_for, stopped):
    page = tab("/")
    settle(page)
    assert tab_to(page, "Train") == ["Skip to main content", "Home"]
    page.keyboard.press("Enter")
    page.wait_for_url("**/Train*")
    page.locator(".st-key-start button").wait_for()
    settle(page)
    page.wait_for_timeout(2_000)  # the first visit is drawn more than once
    settle(page)
    tab_to(page, "Skip to Start training")
    assert tab_to(page, "Find a setting", most=2) == ["Minute"]
    page.keyboard.type(f"Epochs: {SETTINGS['epochs'].help}")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('.st-key-epochs').contains(document.activeElement)"
    )
    settle(page)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("3000")
    page.keyboard.press("Enter")
    settle(page)
    tab_to(page, "Start training", most=4)
    page.keyboard.press("Space")
    page.wait_for_selector(CURVE)
    (run,) = runs.list_runs(server.runs)
    wait_for(lambda: run.status().epoch > 1)
    tab_to(page, "Stop training")
    page.keyboard.press("Enter")
    wait_for(lambda: Run(run.path).status().state is State.STOPPED)
    page.wait_for_selector("text=Stopped after")
    tab_to(page, "Runs")
    page.keyboard.press("Enter")
    page.wait_for_url("**/Runs*")
    page.get_by_role("heading", name="Runs").wait_for()
