"""Own images on the Train page: uploads, preview, kept sets, and who uses them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from engine.data import own
from engine.runs.run import Run, State
from engine.studies import study as studies
from engine.studies.study import Factor, Study, Value
from pages.ui import folders

PAGE = "pages/1_Train.py"
MAX_MB = 500


@pytest.fixture
def page(app, tmp_path, monkeypatch):
    """The Train page as Home's card opens it, with a data folder of its own."""
    monkeypatch.setattr(folders, "DATA_ROOT", tmp_path / "data")
    return app(PAGE, images="own")


def png(value: int, size=(48, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, 255 - value, 40)).save(file, "PNG")
    return file.getvalue()


def pictures(count: int, first: int) -> list[tuple[str, bytes, str]]:
    return [(f"{first + i}.png", png(first + i), "image/png") for i in range(count)]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, first in (("cat", 0), ("dog", 100)):
            for i in range(6):
                archive.writestr(f"pets/{name}/{i}.png", png(first + i))
        archive.writestr("pets/cat/half.jpg", png(7)[:50])
    return file.getvalue()


def texts(at) -> str:
    shown = [*at.markdown, *at.caption, *at.warning, *at.error, *at.info]
    return "\n".join(element.value for element in shown)


def test_a_zip_is_checked_shown_kept_renamed_and_deleted(page, finished):
    at = page
    assert not at.exception and at.selectbox(key="dataset").value == "own"
    assert at.segmented_control(key="own_from").value == "add"
    upload = at.file_uploader(key="own_zip_0")
    assert upload.proto.max_upload_size_mb == MAX_MB and f"up to {MAX_MB} MB" in upload.label
    upload.set_value([("my pets.zip", zipped(), "application/zip")]).run()
    assert not at.exception and not own.list_sets(folders.DATA_ROOT), "nothing is kept yet"
    assert "**2 classes**: 10 training images, 2 test images" in texts(at)
    assert "half.jpg" in texts(at) and "ewer than 20 training images" in texts(at)
    assert at.text_input(key="own_name").value == "my-pets"
    at.text_input(key="own_name").set_value("a/b").run()
    at.button(key="own_use").click().run()
    assert "letters a–z" in at.error[0].value and "Use these" in [b.label for b in at.button]
    at.text_input(key="own_name").set_value("pets").run()
    at.button(key="own_use").click().run()
    (place,) = own.list_sets(folders.DATA_ROOT)
    assert not at.exception and at.selectbox(key="own_set").value == place.name == "pets"
    assert at.session_state["dataset_path"] == str(place)
    assert not at.button(key="start").disabled, texts(at)
    at.button(key="own_fine_tune").click().run()
    assert at.session_state["dataset_path"] == str(place), "the images stay"
    assert at.selectbox(key="arch").value == "speedrun" and "Cannot start" not in texts(at)
    assert "its last layer is replaced" in texts(at)
    labels = at.selectbox(key="pretrained").options
    assert labels and all("other data set, last layer is replaced" in label for label in labels)
    assert "own_fine_tune" not in {button.key for button in at.button}

    run = finished("user", **{"data.dataset": str(place)})
    factor = Factor("Norm", (Value("group", {"model.norm": "group"}), Value("batch", {})))
    studies.save(
        Study("s", "Which?", (factor,), {"data.dataset": str(place)}, "batch"), folders.STUDY_ROOT
    )
    at.session_state["own_change_pets"] = True  # open
    at.run()
    assert "Used by the run **user**" in texts(at) and "Used by the study **s**" in texts(at)
    assert "can train no further runs" in texts(at)
    at.text_input(key="own_new_name_pets").set_value("zoo").run()
    at.button(key="own_rename").click().run()
    (place,) = own.list_sets(folders.DATA_ROOT)
    assert place.name == "zoo" == at.selectbox(key="own_set").value
    assert Path(Run(run.path).config().data.dataset) == place, "the run's images are found"
    assert studies.load(folders.STUDY_ROOT, "s").base["data.dataset"] == str(place)

    at.session_state["own_change_zoo"] = True
    with run.hold("a test") as writer:
        writer.update(state=State.QUEUED)
    at.run()
    at.button(key="own_delete").click().run()
    assert "run 'user' uses these images and is queued" in texts(at) and own.list_sets(
        folders.DATA_ROOT
    )
    with run.hold("a test") as writer:
        writer.update(state=State.STOPPED)
    at.session_state["own_change_zoo"] = True
    at.run()
    at.button(key="own_delete").click().run()
    assert not own.list_sets(folders.DATA_ROOT)
    assert at.segmented_control(key="own_from").value == "add" and not at.exception


def test_pictures_by_class_are_gathered_and_refused_names_are_told(page):
    at = page
    at.segmented_control(key="own_source").set_value("files").run()
    for name, first in (("cat", 0), ("a/b", 50), ("dog", 100)):
        at.text_input(key="own_class").set_value(name).run()
        widgets = at.session_state["own_draft"].widgets
        at.file_uploader(key=f"own_files_{widgets}").set_value(pictures(5, first)).run()
        at.button(key="own_add").click().run()
        assert not at.exception
        assert bool(at.error) == (name == "a/b"), texts(at)
    assert "**cat**: 5" in texts(at) and "**dog**: 5" in texts(at)
    at.button(key="own_remove_dog").click().run()
    assert at.button(key="own_check").disabled and "Two or more classes" in texts(at)
    widgets = at.session_state["own_draft"].widgets
    at.file_uploader(key=f"own_files_{widgets}").set_value(pictures(5, 100)).run()
    at.button(key="own_add").click().run()
    at.button(key="own_check").click().run()
    assert "**2 classes**: 8 training images, 2 test images" in texts(at)
    at.button(key="own_discard").click().run()
    assert at.session_state["own_draft"].classes == {}
    at.segmented_control(key="own_source").set_value("camera").run()
    assert not at.get("camera_input") and "Name the class" in texts(at)
    at.text_input(key="own_class").set_value("cat").run()
    assert len(at.get("camera_input")) == 1


def test_a_zip_that_is_none_is_told_and_another_can_follow(page):
    at = page
    at.file_uploader(key="own_zip_0").set_value([("a.zip", b"no", "application/zip")]).run()
    assert "not a complete zip file" in at.error[0].value
    at.file_uploader(key="own_zip_1").set_value([("b.zip", zipped(), "application/zip")]).run()
    assert not at.error or "Cannot start" in at.error[0].value
    assert "**2 classes**" in texts(at)
