"""Make the README's screenshots: a server, runs trained on the built-in data, and Chromium.

    python scripts/screenshots.py

Trains two small networks (a few minutes on two cores) and writes train.png, runs.png,
augmentations.png, classify.png and inspect.png to docs/. Requires requirements-dev.txt and Chromium
on the PATH.
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
        light, dark = (
            browser.new_context(color_scheme=scheme, viewport={"width": 1400, "height": 900})
            for scheme in ("light", "dark")
        )
        training(light.new_page(), url)
        page = light.new_page()
        page.goto(f"{url}/Runs?compare={','.join(RUNS)}")
        keep(page, "runs")
        page.goto(f"{url}/Classify")
        settle(page)
        choose(page, "Network", "vgg11-shapes")
        page.get_by_role("tab", name="Random test images").click()
        keep(page, "classify")
        page = dark.new_page()
        page.goto(f"{url}/Augmentations")
        keep(page, "augmentations")
        page.goto(f"{url}/Inspect")
        page.wait_for_selector(".st-key-confusion svg, .st-key-confusion canvas")
        keep(page, "inspect")


def training(page: Page, url: str) -> None:
    """Start the preset "minute", and photograph it in its third epoch."""
    page.goto(f"{url}/Train")
    settle(page)
    page.locator(".st-key-start button").click()
    page.wait_for_selector("text=/Epoch 3 of/", timeout=300_000)
    keep(page, "train")
    page.locator(".st-key-stop button").click()
    page.wait_for_selector("text=Stopped after", timeout=60_000)


def choose(page: Page, label: str, option: str) -> None:
    """Choose the first option of a selectbox that contains this text."""
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option").filter(has_text=option).first.click()
    settle(page)


def keep(page: Page, name: str) -> None:
    settle(page)
    page.wait_for_timeout(3_000)
    page.screenshot(path=DOCS / f"{name}.png")


def settle(page: Page) -> None:
    page.wait_for_selector(READY)
    page.wait_for_timeout(1_500)


if __name__ == "__main__":
    main()
