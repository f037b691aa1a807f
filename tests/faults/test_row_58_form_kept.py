"""Row 58 of docs/FAULTS.md: a refresh folds expanders, loses half-typed text and focus."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import streamlit as st
from playwright.sync_api import Page, expect

from bench.ui import write_run
from engine import runs
from engine.runs.run import State
from engine.worker import Worker
from tests.fixtures_server import REPOSITORY

EXPANDERS = (
    *("Validation and subset", "Probabilities and strengths", "Learning rate, optimizer, seed"),
    "Copy as command, or as a link",
)
NAME, SEED = ".st-key-run_name input", ".st-key-seed input"


def open_expanders(page: Page, *labels: str) -> None:
    for label in labels:
        page.locator("summary").get_by_text(label).click()


def assert_open(page: Page, *labels: str) -> None:
    for label in labels:
        details = page.locator("details", has=page.locator("summary").get_by_text(label))
        expect(details).to_have_attribute("open", "")


def type_into(page: Page, place: str, text: str) -> None:
    """Replace a field's text by typing, without Enter, and remember the field itself."""
    page.locator(place).click()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    page.evaluate("typed = document.activeElement")


def assert_typing(page: Page, text: str) -> None:
    """The text is still there, in the same field, which has the focus."""
    assert page.evaluate("typed.isConnected && document.activeElement === typed")
    assert page.evaluate("typed.value") == text


@pytest.fixture
def half_filled(tab, server, known_speed, settle):
    """The Train page with open expanders, other epochs, Mixup, and a name that is half typed."""
    page = tab("/Train")
    open_expanders(page, *EXPANDERS)
    page.locator(".st-key-epochs input").fill("7")
    page.locator(".st-key-epochs input").press("Enter")
    settle(page)
    page.locator(".st-key-augment").get_by_text("Mixup").click()
    settle(page)
    type_into(page, NAME, "half-a-na")
    return page


def assert_kept(page: Page, text: str) -> None:
    """Expanders, half-typed text and choices are as they were."""
    assert_typing(page, text)
    assert_open(page, *EXPANDERS)
    expect(page.locator(".st-key-epochs input")).to_have_value("7")
    expect(page.locator(".st-key-mixup_alpha")).to_be_visible()


def test_the_form_is_kept_while_runs_start_wait_and_end(half_filled, server, tiny, settle):
    page = half_filled
    first, second = (runs.create(server.runs, name, tiny()) for name in ("first", "second"))
    with first.hold("a test") as writer:
        writer.begin((State.QUEUED,))
        expect(page.get_by_role("heading", name="first")).to_be_visible()
        expect(page.get_by_text("Queue: 1 waiting")).to_be_visible()
        settle(page)
        assert_kept(page, "half-a-na")
        page.keyboard.type("me")
        page.locator("summary").get_by_text("Queue: 1 waiting").click()  # folds it
        type_into(page, SEED, "12")
        third = runs.create(server.runs, "third", tiny())
        writer.update(state=State.FINISHED)
    queue = page.locator("details", has=page.get_by_text("Queue: 2 waiting"))
    expect(queue).not_to_have_attribute("open", "")
    settle(page)
    assert_kept(page, "12")
    expect(page.locator(NAME)).to_have_value("half-a-name")
    for run in (second, third):
        with run.hold("a test") as writer:
            writer.update(state=State.STOPPED)


@pytest.mark.slow
def test_the_form_is_kept_when_another_tab_starts_a_run(half_filled, tab, server, settle):
    page, other = half_filled, tab("/Train")
    other.locator(".st-key-epochs input").fill("3000")  # it must not end before it is seen
    other.locator(".st-key-epochs input").press("Enter")
    settle(other)
    other.locator(".st-key-start button").click()
    expect(other.locator(".st-key-stop button")).to_be_visible()
    expect(page.locator(".st-key-stop button")).to_be_visible()
    expect(page.locator(".st-key-queue button")).to_be_visible()
    settle(page)
    assert_kept(page, "half-a-na")
    other.locator(".st-key-stop button").click()
    expect(page.locator(".st-key-start button")).to_be_visible()
    settle(page)
    assert_kept(page, "half-a-na")
    page.keyboard.type("me")
    page.locator(".st-key-start button").click()
    expect(page.get_by_role("heading", name="half-a-name")).to_be_visible()
    settle(page)
    assert_open(page, *EXPANDERS)
    expect(page.locator(".st-key-epochs input")).to_have_value("7")
    expect(page.get_by_text("Finished after")).to_be_visible()
    assert_open(page, *EXPANDERS)


@pytest.mark.slow
def test_the_run_page_is_kept_while_other_runs_change(tab, server, settle):
    write_run(server.runs, "read", 3, lr=0.1)
    page = tab("/Runs?run=read")
    open_expanders(page, "Configuration", "Log")
    page.get_by_role("button", name="Rename").click()
    type_into(page, ".st-key-new_name_read input", "half-a-na")
    table = page.locator("[class*='st-key-runs_table']").last
    before = table.get_attribute("class")  # it tells which runs the table lists
    write_run(server.runs, "later", 3, lr=0.1)
    expect(table).not_to_have_class(before)
    settle(page)
    assert_typing(page, "half-a-na")
    assert_open(page, "Configuration", "Log")


def unkeyed(path: Path) -> list[str]:
    """Lines of a module that make an expander or popover without a key."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if is_foldable(node)]
    bare = [call for call in calls if "key" not in {word.arg for word in call.keywords}]
    return [f"{path.relative_to(REPOSITORY)}:{call.lineno}" for call in bare]


def is_foldable(node: ast.AST) -> bool:
    function = node.func if isinstance(node, ast.Call) else None
    return isinstance(function, ast.Attribute) and function.attr in ("expander", "popover")


def test_whatever_folds_has_a_key():
    """Without a key, what is open belongs to a position on the page, and is lost with it."""
    paths = [REPOSITORY / "app.py", *(REPOSITORY / "pages").rglob("*.py")]
    assert [line for path in paths for line in unkeyed(path)] == []


@pytest.mark.parametrize("ended", [False, True])
def test_start_returns_although_the_worker_leaves_a_run_later_than_its_files_tell(
    ended, app, finished, runs_root, tiny, monkeypatch
):
    run = finished("left") if ended else runs.create(runs_root, "left", tiny())
    monkeypatch.setattr(Worker, "current", run)
    monkeypatch.setattr(Worker, "idle", False)
    looks, fragment = set(), st.fragment
    noted = lambda f, run_every=None: looks.add(f.__name__) or fragment(f)  # noqa: E731
    monkeypatch.setattr(st, "fragment", noted)
    at = app("pages/1_Train.py")
    assert not at.exception and at.button(key="queue")
    assert ("await_idle" in looks) == ended
