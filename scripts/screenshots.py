"""Make the README's pictures: a real server, a real training on the built-in data, Chromium.

    python scripts/screenshots.py

Trains two small networks (a few minutes on two cores) and writes train.png, augmentations.png and
classify.png to docs/. Needs requirements-dev.txt and a chromium on the path.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
READY = "[data-testid=stApp][data-test-script-state=notRunning]"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
RUNS = {"batch-norm": [], "group-norm": ["--norm", "group"]}


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        roots = {"PLAYGROUND_RUN_ROOT": f"{folder}/runs", "PLAYGROUND_DATA_ROOT": f"{folder}/data"}
        for name, extra in RUNS.items():
            train(name, extra, roots)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
        server = subprocess.Popen(
            [*command, "--server.port", str(port)], cwd=REPOSITORY, env=os.environ | roots
        )
        try:
            photograph_all(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(60)


def train(name: str, extra: list[str], roots: dict[str, str]) -> None:
    """The Minute preset from the command line, with one choice changed."""
    sys.path.insert(0, str(REPOSITORY))
    from engine.config import with_fields  # noqa: PLC0415 - the script's folder is not the root
    from engine.presets import PRESETS  # noqa: PLC0415

    config = with_fields(PRESETS["minute"].config(), {"data.root": roots["PLAYGROUND_DATA_ROOT"]})
    words = config.to_command(name).split()[1:] + extra
    words += ["--run-root", roots["PLAYGROUND_RUN_ROOT"]]
    subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True)


def photograph_all(url: str) -> None:
    wait_for(url)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=ARGUMENTS,
        )
        light = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        light.goto(f"{url}/Train")
        settle(light)
        light.locator(".st-key-start button").click()
        light.wait_for_selector("text=/Epoch 3 of/", timeout=300_000)
        light.wait_for_timeout(3_000)
        light.screenshot(path=DOCS / "train.png")
        light.locator(".st-key-stop button").click()
        light.wait_for_selector("text=Stopped after", timeout=60_000)

        dark = browser.new_context(
            color_scheme="dark", viewport={"width": 1400, "height": 900}
        ).new_page()
        dark.goto(f"{url}/Augmentations")
        settle(dark)
        dark.wait_for_timeout(3_000)
        dark.screenshot(path=DOCS / "augmentations.png")

        light.goto(f"{url}/Classify")
        settle(light)
        light.get_by_text("Random test images").click()
        light.wait_for_timeout(3_000)
        light.screenshot(path=DOCS / "classify.png")
        browser.close()


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def settle(page: Page) -> None:
    page.wait_for_selector(READY)
    page.wait_for_timeout(1_500)


if __name__ == "__main__":
    main()
