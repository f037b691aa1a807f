"""The documents name files and tests that exist, and every test of a fault has its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_import_rules import MODULES, imported, within

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [f"docs/{path.name}" for path in REPOSITORY.glob("docs/*.md")]
# A path in a document begins with one of these folders, or is one of these files.
FOLDERS = (
    *("engine", "pages", "terminal", "tests", "scripts", "bench", "docs"),
    "checkpoints/pretrained",
)
FILES = (r"app\.py", r"train\.py", r"README\.md")
FAULTS = REPOSITORY / "docs" / "FAULTS.md"
ROWS = re.findall(r"^\| (?:\[(\d+)\]\((\S+?)\)|(\d+)) \|(.*)$", FAULTS.read_text("utf-8"), re.M)
TESTS = {int(path.name[9:11]): path for path in REPOSITORY.glob("tests/faults/test_row_*.py")}
LINKED = {int(number): FAULTS.parent / target for number, target, _, _ in ROWS if number}
WITHOUT_TEST = {int(number): text for _, _, number, text in ROWS if number}


def test_each_row_has_a_number_of_its_own():
    assert len({*LINKED, *WITHOUT_TEST}) == len(ROWS) > 40


def test_every_test_of_a_fault_has_its_row():
    assert {number: path.resolve() for number, path in LINKED.items()} == TESTS


@pytest.mark.parametrize("number", TESTS)
def test_the_file_names_its_row(number):
    first_line = TESTS[number].read_text("utf-8").splitlines()[0]
    assert first_line.startswith(f'"""Row {number} of docs/FAULTS.md: ')


def test_a_row_without_a_test_says_why():
    assert WITHOUT_TEST.keys() == {18}
    assert all("No test: " in text for text in WITHOUT_TEST.values())


@pytest.mark.parametrize("document", ["README.md", "bench/README.md", *DOCUMENTS])
def test_every_path_that_a_document_names_exists(document):
    text = (REPOSITORY / document).read_text("utf-8")
    named = re.findall(rf"\b(?:(?:{'|'.join(FOLDERS)})/[\w./-]*[\w/]|{'|'.join(FILES)})\b/?", text)
    assert named
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_name_in_code_type_occurs_in_the_code(document):
    text = (REPOSITORY / document).read_text("utf-8")
    named = re.findall(r"`(?:\w+\.)*([A-Za-z_]\w*)(?:\([^`]*\))?`", text)
    sources = [*REPOSITORY.glob("*.py")]
    for folder in ("engine", "pages", "bench", "scripts", "tests"):
        sources += [path for path in (REPOSITORY / folder).rglob("*.py") if path != Path(__file__)]
    words = set(re.findall(r"\w+", "\n".join(path.read_text("utf-8") for path in sources)))
    assert named
    assert [name for name in named if name not in words] == []


def rows_of_picture() -> list[list[str]]:
    """Dotted names of the modules in each row of ARCHITECTURE.md's picture, from the top."""
    picture = (REPOSITORY / "docs" / "ARCHITECTURE.md").read_text("utf-8").split("```")[1]
    rows: list[list[str]] = []
    for word in picture.split():
        if word.isalpha():  # the name of a row, at its beginning
            rows.append([])
        elif word not in "│▼":
            rows[-1].append(word.strip("/").removesuffix(".py").replace("/", "."))
    return rows


def test_the_picture_holds_every_room_of_the_engine():
    rooms = {".".join(name.split(".")[:2]) for name in MODULES if within(name, "engine")}
    drawn = [room for row in rows_of_picture() for room in row]
    assert len(drawn) == len(set(drawn))
    assert {room for room in drawn if within(room, "engine")} == rooms - {"engine"}


def test_no_room_imports_from_a_row_above_it():
    rows = rows_of_picture()
    for number, row in enumerate(rows):
        above = [room for higher in rows[:number] for room in higher]
        for module in [name for name in MODULES if any(within(name, room) for room in row)]:
            path = MODULES[module]
            names = imported(ast.parse(path.read_text("utf-8")), module, path.stem == "__init__")
            upward = [n for n in names if any(within(n, room) for room in above)]
            assert upward == [], module
