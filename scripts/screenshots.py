"""Make the README's screenshots: a server, runs trained on the built-in data, and Chromium.

    python scripts/screenshots.py

Trains two small networks (a few minutes on two cores) and writes train.png, augmentations.png and
classify.png to docs/. Requires requirements-dev.txt and Chromium on the PATH.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.serving import READY, REPOSITORY, browsing, serving
from engine.config import with_fields
from engine.presets import PRESETS

DOCS = REPOSITORY / "docs"
RUNS = {"batch-norm": [], "group-norm": ["--norm", "group"]}


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        runs, data = Path(temporary, "runs"), Path(temporary, "data")
        for name, extra in RUNS.items():
            train(name, extra, runs, data)
        with serving(runs, data) as url:
            photograph_all(url)


def train(name: str, extra: list[str], runs: Path, data: Path) -> None:
    """Train the preset "minute" from the command line, with extra flags."""
    config = with_fields(PRESETS["minute"].config(), {"data.root": str(data)})
    words = config.to_command(name).split()[1:] + extra
    words += ["--run-root", str(runs)]
    subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True)


def photograph_all(url: str) -> None:
    with browsing() as browser:
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
        light.get_by_test_id("stSelectbox").first.locator("input").click()  # whose images are here:
        light.get_by_role("option").filter(has_not_text="pretrained").first.click()
        settle(light)
        light.get_by_text("Random test images").click()
        light.wait_for_timeout(3_000)
        light.screenshot(path=DOCS / "classify.png")


def settle(page: Page) -> None:
    page.wait_for_selector(READY)
    page.wait_for_timeout(1_500)


if __name__ == "__main__":
    main()
