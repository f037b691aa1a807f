"""A real Chromium. A plugin (see conftest.py in the root): two folders of tests use it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",  # a camera that shows a test picture …
    "--use-fake-ui-for-media-stream",  # … and is allowed without asking
]
READY = "[data-testid=stApp][data-test-script-state=notRunning]"
# Opened at a page's own address, Streamlit's client asks for its health there first, then at the
# root: a 404 that every multipage app logs, and no fault of this one.
EXPECTED = ("/_stcore/health", "/_stcore/host-config")
TIMEOUT_MS = 60_000  # a guard against hanging for ever, not a measure of speed
SCREENSHOTS = Path(__file__).parent / "browser" / "screenshots"


@pytest.fixture(scope="session")
def chromium(chromium_path):
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, server):
    """tab("/Train", dark=True) opens a page in a browser of its own; no console error may come."""
    contexts, errors = [], []

    def open_tab(address: str = "/", *, dark: bool = False, width: int = 1400) -> Page:
        context = chromium.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": 1000}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda message: errors.append(message) if is_error(message) else None)
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(server.url + address)
        ready(page)
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert not errors, [getattr(error, "text", error) for error in errors]


def is_error(message) -> bool:
    place = (message.location or {}).get("url", "")
    return message.type == "error" and not place.endswith(EXPECTED)


def ready(page: Page) -> None:
    """Wait until the page's script has run and what it drew is there."""
    page.wait_for_selector(READY)
    page.wait_for_timeout(300)


@pytest.fixture
def photograph():
    """photograph(page, "train-dark") keeps a screenshot for a person to look at."""

    def take(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return take


@pytest.fixture
def settle():
    return ready
