"""The Classify page on a network that was never trained, for the faults of uploads."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine import runs
from engine.config import with_fields
from engine.models import build_model
from engine.runs.checkpoint import CheckpointStore, describe_model
from pages.ui import folders, process

PAGE = Path(__file__).resolve().parents[2] / "pages" / "5_Classify.py"


@pytest.fixture
def classify_page(tmp_path, monkeypatch, shapes_root, tiny):
    """The page as it opens when one network is there, which always says "c3"."""
    monkeypatch.setattr(folders, "RUN_ROOT", tmp_path / "runs")
    monkeypatch.setattr(folders, "DATA_ROOT", shapes_root)
    monkeypatch.setattr(process, "prepare_shapes", lambda: None)
    monkeypatch.setattr(folders, "SHIPPED", tmp_path / "shipped")
    config = with_fields(tiny(), {"model.num_classes": 10})
    model = build_model("resnet10", 10, width=config.model.width)
    with torch.no_grad():
        list(model.parameters())[-1][3] = 50.0
    run = runs.create(tmp_path / "runs", "net", config)
    info = {
        "name": "shapes",
        "classes": [f"c{i}" for i in range(10)],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    with run.hold("a test") as writer:
        writer.save_config(config, info)
    store = CheckpointStore(run.path, describe_model(config.model))
    store.save_best(model.state_dict(), 1, 0.5)
    return AppTest.from_file(str(PAGE), default_timeout=60).run()


@pytest.fixture
def upload(classify_page):
    """upload(("a.png", bytes), …) opens the page with these files: what it then shows."""

    def run(*files: tuple[str, bytes]) -> AppTest:
        app = classify_page
        app.file_uploader(key="upload").set_value([(n, c, "image/png") for n, c in files]).run()
        assert not app.exception
        return app

    return run


@pytest.fixture
def shown():
    """shown(app): the HTML of its result cards."""

    def collect(app: AppTest) -> str:
        return "".join(element.proto.body for element in app.get("html"))

    return collect


@pytest.fixture
def picture():
    """picture("PNG", noisy=True): the bytes of a 60×40 image file."""

    def encode(kind: str = "PNG", noisy: bool = False) -> bytes:
        image = Image.new("RGB", (60, 40), (200, 30, 60))
        if noisy:
            image = Image.effect_noise((60, 40), 80).convert("RGB")
        file = io.BytesIO()
        image.save(file, kind)
        return file.getvalue()

    return encode
