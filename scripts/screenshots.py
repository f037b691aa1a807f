"""Make the README's screenshots: a server, runs trained on the built-in data, and Chromium.

    python scripts/screenshots.py

Trains three small networks (a few minutes on two cores) and writes train.png, runs.png,
augmentations.png, classify.png, inspect.png and the animation training.webp to docs/. Requires
requirements-dev.txt and Chromium on the PATH.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import BrowserContext, Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.serving import READY, REPOSITORY, browsing, serving
from engine.config import with_fields
from engine.presets import PRESETS

DOCS = REPOSITORY / "docs"
RUNS = {"batch-norm": [], "group-norm": ["--norm", "group"]}
COLORS = 128  # of a picture's palette
SHOWN = "Epoch 3 of"  # when Train is photographed
PATIENCE_MS = 180_000
WIDTH = 900  # pixels of the animation
EVERY_S, FRAME_MS, LAST_MS = 2, 150, 3000
FRAMES = 160  # at most; what training takes beyond these is left out


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
        for context in (light, dark):
            context.set_default_timeout(PATIENCE_MS)
        training(light.new_page(), url)
        pages(light, dark, url)


def pages(light: BrowserContext, dark: BrowserContext, url: str) -> None:
    """All pages but Train."""
    page = light.new_page()
    page.goto(f"{url}/Runs?ticked={','.join(RUNS)}")
    page.wait_for_selector(".st-key-comparison svg, .st-key-comparison canvas")
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
    """Start the preset "minute"; photograph it in its third epoch, and animate it to its end."""
    page.goto(f"{url}/Train")
    settle(page)
    page.locator(".st-key-start button").click()
    page.wait_for_selector(".st-key-live_accuracy")
    frames, shown, ended = [], False, False
    while not ended and len(frames) < FRAMES:
        ended = page.get_by_text("Finished after").first.is_visible()
        frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        if not shown and (shown := page.get_by_text(SHOWN).first.is_visible()):
            keep(page, "train")
        page.wait_for_timeout(1_000 * EVERY_S)
    animate(frames)


def animate(frames: list[Image.Image]) -> None:
    """Write training.webp; the last frame stays longer."""
    size = (WIDTH, WIDTH * frames[0].height // frames[0].width)
    first, *rest = (frame.resize(size, Image.Resampling.LANCZOS) for frame in frames)
    times = [FRAME_MS] * len(rest) + [LAST_MS]
    first.save(
        DOCS / "training.webp", save_all=True, append_images=rest, duration=times, loop=0,
        quality=60, method=6,
    )  # fmt: skip


def choose(page: Page, label: str, option: str) -> None:
    """Choose the first option of a selectbox that contains this text."""
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option").filter(has_text=option).first.click()
    settle(page)


def keep(page: Page, name: str) -> None:
    settle(page)
    page.wait_for_timeout(3_000)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLORS).save(DOCS / f"{name}.png", optimize=True)


def settle(page: Page) -> None:
    page.wait_for_selector(READY)
    page.wait_for_timeout(1_500)


if __name__ == "__main__":
    main()
