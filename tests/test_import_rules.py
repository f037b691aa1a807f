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
    "pages.ui.charts": ("streamlit",),
}


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
    if within(module, "pages") and not within(module, "pages.ui"):
        others = {n for n in names if within(n, "pages") and not within(n, "pages.ui")} - {"pages"}
        found += [f"{module} imports the page {name}" for name in sorted(others)]
    if within(module, "engine"):
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        found += [f"{module} prints" for call in calls if name_of(call.func) == "print"]
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and is_sys(n.value)}
        found += [f"{module} uses sys.{name}" for name in used & {"stdout", "stderr", "argv"}]
    return found


def is_sys(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == "sys"


def modules() -> dict[str, Path]:
    """Dotted name and file of every module that the rules are about."""
    files = [*REPOSITORY.glob("engine/**/*.py"), *REPOSITORY.glob("pages/**/*.py")]
    files += [REPOSITORY / name for name in ("train.py", "terminal.py", "app.py")]
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
    }


MODULES = modules()


def test_the_rules_find_the_modules_they_name():
    named = {name for name in FORBIDDEN if not within(name, "pages")}
    assert named <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_keeps_the_import_rules(module):
    path = MODULES[module]
    assert violations(module, path.read_text("utf-8"), path.name == "__init__.py") == []


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
        ("train", "from pages.ui import charts", "pages.ui"),
        ("train", "import streamlit", "streamlit"),
        ("pages.1_Train", "import torch.nn", "torch.nn"),
        ("pages.1_Train", "from pages import other", "pages.other"),
        ("pages.ui.state", "from torch import Tensor", "torch"),
        ("pages.ui.charts", "from streamlit import write", "streamlit"),
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
        ("pages.1_Train", "import streamlit as st\nfrom pages.ui import controls, state"),
        ("pages.ui.state", "import streamlit\nfrom pages.ui import charts"),
        ("pages.ui.charts", "import altair"),
        ("train", "import argparse\nfrom engine import runs\nprint('allowed here')"),
        ("engine.models", "from . import vgg"),
    ],
)
def test_the_check_lets_through_what_the_rules_allow(module, source):
    assert violations(module, source, is_package=module == "engine.models") == []
