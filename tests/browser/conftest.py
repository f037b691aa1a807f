"""A real server and a real Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
READY = "[data-testid=stApp][data-test-script-state=notRunning]"
# Opened at a page's own address, Streamlit's client asks for its health there first, then at the
# root: a 404 that every multipage app logs, and no fault of this one.
EXPECTED = ("/_stcore/health", "/_stcore/host-config")
SCREENSHOTS = Path(__file__).parent / "screenshots"


class Server:
    """`streamlit run app.py` on a free port of this machine, on folders of its own."""

    def __init__(self, runs: Path, data: Path, log: Path):
        self.runs, self.data, self.log = runs, data, log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        environment = os.environ | {
            "PLAYGROUND_RUN_ROOT": str(self.runs),
            "PLAYGROUND_DATA_ROOT": str(self.data),
            "OMP_NUM_THREADS": "1",  # the browser needs the other core
        }
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        command += ["--server.headless", "true", "--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log
            )
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    pytest.fail(f"the server does not answer: {self.log.read_text()[-2000:]}")
                time.sleep(0.1)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)


@pytest.fixture(scope="module")
def server(tmp_path_factory, shapes_root):
    """One server for the tests of a file; its log must hold no traceback at the end."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "runs", shapes_root, folder / "log")
    yield server
    server.stop()
    assert "Traceback" not in server.log.read_text(), server.log.read_text()[-3000:]


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        message = "no chromium on this machine: install Debian's package chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
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
        page.set_default_timeout(60_000)
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
