"""The import rules of the design, enforced by reading every module's syntax tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# What each module, and all within it, must not import: inside the engine arrows point one way.
TRAINING_AND_UP = ("engine.training", "engine.worker")
BOTTOM = ("engine.config", "engine.data", "engine.runs", *TRAINING_AND_UP)
BASE = ("engine.data", "engine.runs", "engine.predict", *TRAINING_AND_UP)
FORBIDDEN = {
    "engine": ("streamlit", "pages", "train", "terminal", "app", "argparse"),
    "engine.checks": BOTTOM,
    "engine.errors": BOTTOM,
    "engine.files": BOTTOM,
    "engine.randomness": BOTTOM,
    "engine.config": BASE,
    "engine.models": BASE,
    "engine.augment": BASE,
    "engine.schedules": BASE,
    "engine.evaluate": ("engine.runs", "engine.predict", *TRAINING_AND_UP),
    "engine.data": ("engine.runs", *TRAINING_AND_UP),
    "engine.runs": ("engine.data", *TRAINING_AND_UP),
    "engine.predict": ("engine.worker",),
    "engine.training": ("engine.worker",),
    "train": ("streamlit", "pages", "app"),
    "terminal": ("streamlit", "pages", "app", "train"),
    "pages": ("torch", "torchvision", "train"),
}
# Modules of the pages that are tested without Streamlit; they import none that is not listed here.
PURE = (
    "pages.ui.axes",
    "pages.ui.charts",
    "pages.ui.folders",
    "pages.ui.images",
    "pages.ui.pictures",
    "pages.ui.rendering",
    "pages.ui.text",
    "pages.ui.augmentations.charts",
    "pages.ui.augmentations.preview",
    "pages.ui.classify.cards",
    "pages.ui.classify.edits",
    "pages.ui.scenes",
    "pages.ui.inspect.charts",
    "pages.ui.runs.charts",
    "pages.ui.studies.charts",
    "pages.ui.studies.export",
    "pages.ui.studies.progress",
    "engine.studies.report",
)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def imported(tree: ast.AST, module: str, is_package: bool) -> set[str]:
    """Dotted names that `module` imports, relative and by call as well."""
    here = module.split(".") if is_package else module.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and name_of(node.func) in ("import_module", "__import__"):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return found


def name_of(function: ast.expr) -> str:
    return getattr(function, "id", getattr(function, "attr", ""))


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What in `source`, the module of that dotted name, breaks a rule."""
    tree = ast.parse(source)
    names = imported(tree, module, is_package)
    found = [
        f"{module} imports {name}"
        for package, banned in FORBIDDEN.items()
        if within(module, package)
        for name in sorted(names)
        if any(within(name, ban) for ban in banned)
    ]
    if within(module, "pages") or module == "app":
        found += [f"{module} imports {name}" for name in sorted(names) if not may_use(module, name)]
    found += [f"{module} imports {name}" for name in sorted(names) if is_inside_fast(module, name)]
    if within(module, "engine"):
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        found += [f"{module} prints" for call in calls if name_of(call.func) == "print"]
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and is_sys(n.value)}
        found += [f"{module} uses sys.{name}" for name in used & {"stdout", "stderr", "argv"}]
    return found


def may_use(module: str, name: str) -> bool:
    """Whether the app, a page or a module of pages.ui may import `name`.

    None imports a page; a module of pages/ui/<page>/ is imported by that page and its folder alone.
    """
    if module in PURE and not is_pure(name):
        return False
    if not within(name, "pages.ui"):
        return name == "pages" or not within(name, "pages")
    owner = [*name.split("."), ""][2]
    own_page = module.startswith("pages.") and module.lower().endswith(f"_{owner}")
    return owner not in PAGES or own_page or within(module, f"pages.ui.{owner}")


def is_pure(name: str) -> bool:
    """Whether a module of PURE may import `name`: what holds it, it or what it holds is in PURE."""
    listed = any(within(name, pure) or within(pure, name) for pure in PURE)
    return listed or not (within(name, "pages") or within(name, "streamlit"))


def is_inside_fast(module: str, name: str) -> bool:
    """Whether `name` is a module inside engine.fast, which only engine.fast itself may import."""
    inside = name in MODULES and name.startswith("engine.fast.")
    return inside and not within(module, "engine.fast") and not within(module, "tests.engine.fast")


def is_sys(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == "sys"


# The folders of pages/ui, each named like the page whose modules it holds: train for 1_Train.py.
PAGES = {path.parent.name for path in (REPOSITORY / "pages" / "ui").glob("*/*.py")}


def modules() -> dict[str, Path]:
    """Dotted name and file of every module that the rules are about."""
    folders = ("engine", "pages", "bench", "scripts")
    files = [path for folder in folders for path in REPOSITORY.glob(f"{folder}/**/*.py")]
    files += [*REPOSITORY.glob("terminal/*.py"), REPOSITORY / "train.py", REPOSITORY / "app.py"]
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
    }


MODULES = modules()


def test_the_rules_find_the_modules_they_name():
    assert {*FORBIDDEN, *PURE} <= set(MODULES)


def test_every_folder_of_ui_is_named_like_a_page():
    pages = {name.split("_")[-1].lower() for name in MODULES if name.count(".") == 1}
    assert pages >= PAGES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_keeps_the_import_rules(module):
    path = MODULES[module]
    assert violations(module, path.read_text("utf-8"), path.name == "__init__.py") == []


def test_only_the_tests_of_fast_import_from_inside_it():
    for path in (REPOSITORY / "tests").rglob("*.py"):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        names = imported(ast.parse(path.read_text("utf-8")), module, is_package=False)
        assert [name for name in names if is_inside_fast(module, name)] == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("engine.runs", "import streamlit as st", "streamlit"),
        ("engine.worker", "def f():\n    from streamlit import cache_resource", "streamlit"),
        ("engine.config", "import argparse", "argparse"),
        ("engine.data.cifar", "import importlib; importlib.import_module('pages.ui')", "pages.ui"),
        ("engine.data.cifar", "__import__('streamlit')", "streamlit"),
        ("engine.models.vgg", "from engine.data import load", "engine.data"),
        ("engine.models.vgg", "from ..data import load", "engine.data"),
        ("engine.augment.pipeline", "from engine import data", "engine.data"),
        ("engine.data.batches", "from engine.training.loop import Trainer", "engine.training"),
        ("engine.training.loop", "from engine import worker", "engine.worker"),
        ("engine.runs", "from engine.training import session", "engine.training"),
        ("engine.runs.checkpoint", "import engine.training.records", "engine.training"),
        ("engine.errors", "from . import config", "engine.config"),
        ("engine.device", "print('hello')", "prints"),
        ("engine.device", "import sys\nsys.stdout.write('hello')", "sys.stdout"),
        ("engine.predict", "from engine.fast.registry import swap", "engine.fast.registry"),
        ("bench.inference", "from engine.fast import registry", "engine.fast.registry"),
        ("scripts.sweep_convolutions", "import engine.fast.conv.im2col", "engine.fast.conv"),
        ("train", "from pages.ui import charts", "pages.ui"),
        ("train", "import streamlit", "streamlit"),
        ("pages.1_Train", "import torch.nn", "torch.nn"),
        ("pages.1_Train", "from pages import other", "pages.other"),
        ("pages.ui.process", "from torch import Tensor", "torch"),
        ("pages.ui.charts", "from streamlit import write", "streamlit"),
        ("pages.ui.charts", "from pages.ui import readings", "pages.ui.readings"),
        ("pages.ui.live", "from pages.ui.train import controls", "pages.ui.train"),
        ("pages.ui.classify.networks", "from pages.ui import train", "pages.ui.train"),
        ("pages.2_Runs", "import pages.ui.train.controls", "pages.ui.train.controls"),
        ("app", "from pages.ui.train import controls", "pages.ui.train"),
    ],
)
def test_the_check_sees_a_module_that_breaks_a_rule(module, source, expected):
    assert any(expected in line for line in violations(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("engine.training.loop", "import torch\nfrom engine.data.batches import Splits"),
        ("engine.runs", "from engine.config import RunConfig\nimport json"),
        ("engine.worker", "from engine.training import session"),
        ("pages.1_Train", "import streamlit as st\nfrom pages.ui import choices, live"),
        ("pages.ui.process", "import streamlit\nfrom pages.ui import charts"),
        ("pages.ui.charts", "import altair"),
        ("pages.ui.classify.cards", "from pages.ui.text import percent"),
        ("pages.1_Train", "from pages.ui.train import controls"),
        ("pages.ui.train.strip", "from pages.ui.train.controls import keep"),
        ("train", "import argparse\nfrom engine import runs\nprint('allowed here')"),
        ("engine.predict", "from engine.fast import accelerate"),
        ("engine.fast.registry", "from engine.fast.conv import im2col"),
        ("engine.models", "from . import vgg"),
    ],
)
def test_the_check_lets_through_what_the_rules_allow(module, source):
    assert violations(module, source, is_package=module == "engine.models") == []
