"""The Classify page on an untrained network, and image files and data sets of a user."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import train
from engine import data, runs
from engine.config import with_fields
from engine.data import ImageData
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


@pytest.fixture
def noisy() -> Callable[..., bytes]:
    """noisy(3, (60, 40), "JPEG"): the bytes of an image file with random pixels, by its seed."""

    def encode(seed: int, size: tuple[int, int] = (32, 32), kind: str = "PNG", **options) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        return file.getvalue()

    return encode


@pytest.fixture(params=["folder", "zip"])
def own_set(request, tmp_path) -> Callable[[dict[str, bytes]], Path]:
    """own_set({"train/cat/1.png": bytes, …}) writes a data set, as a folder and as a zip."""

    def write(entries: dict[str, bytes]) -> Path:
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
                for name, content in entries.items():
                    archive.writestr(name, content)
            return tmp_path / "pets.zip"
        for name, content in entries.items():
            path = tmp_path / "pets" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "pets"

    return write


@pytest.fixture
def read(own_set, tmp_path) -> Callable[..., ImageData]:
    """read({"train/cat/1.png": bytes, …}, fit="pad"): these entries, imported."""
    return lambda entries, **options: data.load(str(own_set(entries)), tmp_path / "root", **options)


@pytest.fixture
def train_on(tmp_path, one_thread) -> Callable[..., int]:
    """train_on(path, "--fit", "pad") trains for an epoch in the terminal: its exit code."""

    def run(path: Path | str, *more: str) -> int:
        words = "--limit 4 -b 4 -e 1 --arch resnet10 --width 0.0625 --precision fp32 --device cpu"
        roots = ["--data-root", str(tmp_path / "data"), "--run-root", str(tmp_path / "runs")]
        return train.main([*words.split(), "--dataset", str(path), "--name", "a", *roots, *more])

    return run


@pytest.fixture
def open_own(app) -> Callable:
    """open_own(path) opens the Train page with a person's own images chosen."""

    def run(path: Path | str):
        at = app("pages/1_Train.py")
        at.session_state["dataset"] = "own"
        at.session_state["dataset_path"] = str(path)
        at.run()
        assert not at.exception
        return at

    return run
