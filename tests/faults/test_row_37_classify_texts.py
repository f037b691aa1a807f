"""Row 37 of docs/FAULTS.md: no folder of the server in a text, no formula in the CSV."""

import csv
import io
import json

import numpy as np
import pytest

from pages.ui import folders, text
from pages.ui.classify import cards, networks
from pages.ui.classify.export import to_csv

FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "a\n=1",
    "a\r=1",
]


def rows_of(content):
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def result(name, label):
    picture = cards.Picture(name, "1×1 pixels", "", True, {"crop": np.zeros((3, 32, 32), np.uint8)})
    return picture, [cards.Answer(f"{label} · best", [(label, 0.9), ("b", 0.1)], (label, "b"))]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_starts_like_a_formula(formula):
    """Names of files, classes and networks come from outside."""
    refused = [(formula, formula)]
    content = to_csv([result(formula, formula)], refused, "crop")
    rows = rows_of(content)
    assert len(rows) == 3 and b"\r" not in content
    assert sum(formula.split()[-1] in cell for row in rows for cell in row) == 5
    for cell in (cell for row in rows for cell in row):
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")), cell


def test_a_cell_that_is_no_formula_is_left_alone():
    _, row = rows_of(to_csv([result("a=b.png", "c-d")], [], "crop"))
    assert row[0] == "a=b.png" and "c-d" in row


def texts(app):
    """Everything that the page shows."""
    kinds = ["error", "info", "warning", "markdown", "caption", "html", "text", "selectbox"]
    return "".join(str(element.proto) for kind in kinds for element in app.get(kind))


def cut(run):
    path = run / "best.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def no_classes(run):
    path = run / "config.json"
    values = json.loads(path.read_text())
    del values["dataset_info"]["classes"]
    path.write_text(json.dumps(values))


def other_network(run):
    path = run / "config.json"
    values = json.loads(path.read_text())
    values["model"]["width"] = 0.125
    path.write_text(json.dumps(values))


DAMAGE = {
    "cut weights": cut,
    "text for weights": lambda run: (run / "best.safetensors").write_text("hello"),
    "a folder for weights": lambda run: [
        (run / "best.safetensors").unlink(),
        (run / "best.safetensors").mkdir(),
    ],
    "no config": lambda run: (run / "config.json").write_text("{"),
    "no classes": no_classes,
    "other network": other_network,
    "no status": lambda run: (run / "status.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_named_without_a_path_or_traceback(
    classify_page, tmp_path, picture, damage
):
    damage(tmp_path / "runs" / "net")
    networks.predictor.clear()  # else the page goes on with its loaded copy
    app = classify_page
    app.file_uploader(key="upload").set_value([("a.png", picture(), "image/png")]).run()
    assert not app.exception
    shown = texts(app)
    assert str(tmp_path) not in shown and "Traceback" not in shown and "File \\" not in shown
    if damage is DAMAGE["a folder for weights"]:  # not offered
        assert not any("net · best" in error.value for error in app.error)
    elif damage is not DAMAGE["no status"]:
        (error,) = app.error
        assert "net · best" in error.value and "cannot be used" in error.value


def test_a_run_that_was_deleted_leaves_the_list(classify_page, tmp_path):
    (tmp_path / "runs" / "net").rename(tmp_path / "gone")
    app = classify_page.run()
    assert not app.exception and not app.selectbox
    assert "no trained network here yet" in app.info[0].value


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("[Errno 13] Permission denied: '/srv/app/x.png'", "[Errno 13] Permission denied: 'x.png'"),
        ("cannot read C:\\Users\\me\\x.png now", "cannot read x.png now"),
        ("1/2 of a/b is 3×4", "1/2 of a/b is 3×4"),
        ("first\nsecond", "first"),
        ("", "ValueError"),
    ],
)
def test_an_error_loses_its_folders_and_lines(message, expected):
    assert text.plain(ValueError(message)) == expected


def test_the_run_folder_goes_even_if_it_has_spaces(tmp_path, monkeypatch):
    root = tmp_path / "my own runs"
    monkeypatch.setattr(folders, "RUN_ROOT", root)
    shown = text.plain(ValueError(f"there is no run 'a' in {root}"))
    assert shown == "there is no run 'a' in my own runs"
