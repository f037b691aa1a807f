"""Access: no serious violation of WCAG on any page, in both themes, by axe-core."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

STOPS = 15  # presses of Tab from the start of a page's content to its button, at most
PAGES = ("", "Train", "Runs", "Studies", "Augmentations", "Classify", "Inspect")
# Contrast of the labels of charts, which axe does not measure: (fill, background) in rgb.
LABELS = """() => {
  const app = document.querySelector("[data-testid=stApp]");
  const background = getComputedStyle(app).backgroundColor;
  return [...document.querySelectorAll(".role-axis-label text, .role-axis-title text")]
    .map(text => [getComputedStyle(text).fill, background]);
}"""


def luminance(color: str) -> float:
    """Relative luminance of "rgb(…)", by WCAG 2.2."""
    channels = [float(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_is_that_of_wcag():
    assert contrast("rgb(255, 255, 255)", "rgb(0, 0, 0)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


@pytest.mark.slow  # some seconds for each page
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("address", PAGES, ids=lambda address: address or "Home")
def test_no_serious_violation(tab, settle, address, dark):
    page = tab(f"/{address}", dark=dark)
    settle(page)
    found = Axe().run(page).response["violations"]
    serious = [
        (violation["id"], node["html"][:200], node["failureSummary"])
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert not serious
    for pair in page.evaluate(LABELS):
        assert contrast(*pair) >= 4.5, pair


@pytest.mark.slow
@pytest.mark.parametrize(
    "dark", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["to-dark", "to-light"]
)
def test_a_dialog_follows_a_theme_chosen_against_the_systems(tab, settle, known_speed, dark):
    page = tab("/Train", dark=dark)
    page.locator("[data-testid=stMainMenu] button").click()
    page.get_by_test_id("stMainMenuPopover").get_by_text("Light" if dark else "Dark").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Compare architectures").click()
    color = "element => getComputedStyle(element).color"
    caption = "[data-testid={}] [data-testid=stCaptionContainer] p"
    inside = page.locator(caption.format("stDialog")).first.evaluate(color)
    assert inside == page.locator(caption.format("stMain")).first.evaluate(color)
    assert inside == ("rgb(86, 96, 116)" if dark else "rgb(163, 173, 189)")


def test_the_first_page_is_named_home(tab):
    page = tab("/Train")
    expect(page.get_by_test_id("stSidebarNav").get_by_role("link", name="Home")).to_be_visible()


def focused(page, place: str) -> bool:
    return page.locator(place).evaluate("element => element === document.activeElement")


def in_sight(page, place: str) -> bool:
    """Whether the middle of an element is visible, and nothing covers it."""
    return page.locator(place).evaluate(
        """element => {
          const box = element.getBoundingClientRect();
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          return element.contains(top);
        }"""
    )


def test_start_is_near_and_stays_in_sight(tab, settle, known_speed, photograph):
    button, skip = ".st-key-start_bar button", ".skip_to_start"
    page = tab("/Train")
    page.locator(button).wait_for()
    settle(page)
    page.wait_for_timeout(2_000)  # the first visit is drawn more than once
    settle(page)
    page.get_by_test_id("stMain").focus()
    page.keyboard.press("Tab")
    assert focused(page, skip) and in_sight(page, skip)
    presses = 1
    while not focused(page, button):
        page.keyboard.press("Tab")
        presses += 1
        assert presses <= STOPS
    page.locator(skip).focus()
    page.keyboard.press("Enter")
    assert focused(page, button)
    for width in (1400, 390):
        page.set_viewport_size({"width": width, "height": 700})
        for place in ("preset", "epochs"):
            page.locator(f".st-key-{place}").scroll_into_view_if_needed()
            assert in_sight(page, button), (width, place)
    page.locator("summary").get_by_text("Copy as command").scroll_into_view_if_needed()
    assert in_sight(page, ".st-key-command_and_link summary"), "not below the bar"
    photograph(page, "train-phone")
