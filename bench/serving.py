"""The app on a local port, and a headless Chromium, for benchmarks and screenshots."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
READY = "[data-testid=stApp][data-test-script-state=notRunning]"  # no script is running
# Whether each selector matches a visible element that contains the text beside it.
VISIBLE = """wanted => wanted.every(([selector, text]) =>
  [...document.querySelectorAll(selector)].some(
    found => found.getClientRects().length && found.textContent.includes(text)))"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
START_S = 60


@contextlib.contextmanager
def serving(runs: Path, data: Path) -> Iterator[str]:
    """Serve the app on these folders; its URL. Raises SystemExit if it is not up within START_S."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PLAYGROUND_RUN_ROOT": str(runs), "PLAYGROUND_DATA_ROOT": str(data)}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | environment, **quiet)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(url: str) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def wait_drawn(page: Page, selector: str, text: str = "") -> None:
    """Wait until a visible element matches and contains the text, and no script is running.

    Polls at every frame: Playwright's own waits poll twice a second.
    """
    wanted = [[selector, text], [READY, ""]]
    page.wait_for_function(VISIBLE, arg=wanted, polling="raf", timeout=60_000)


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("no chromium on this machine: install one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
