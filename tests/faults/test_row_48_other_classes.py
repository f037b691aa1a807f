"""Row 48 of docs/FAULTS.md: initial weights of other classes, or of another network."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from streamlit.testing.v1 import AppTest

import train
from engine import runs
from engine.config import with_fields
from engine.errors import ConfigError
from engine.predict import to_image
from engine.runs.checkpoint import load_weights, save_weights
from engine.runs.run import Run, State
from engine.training import initial
from engine.training.prepare import new_model, prepare
from pages.ui import folders

DIGITS = tuple(f"digit {i}" for i in range(10))
HEAD = ("head.2.weight", "head.2.bias")


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny, train_run, one_thread):
    """A folder of runs with one finished run, `parent`, which knows the built-in shapes."""
    folder = tmp_path_factory.mktemp("runs")
    assert train_run(runs.create(folder, "parent", tiny(epochs=1))) is State.FINISHED
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory, tiny):
    """own("a", "b"): the config of a run on a folder with these classes, from `parent`."""
    made = {}

    def make(*classes: str, **changes):
        if classes not in made:
            made[classes] = tmp_path_factory.mktemp("own")
            for split in ("train", "test"):
                for index, name in enumerate(classes):
                    folder = made[classes] / split / name
                    folder.mkdir(parents=True)
                    value = torch.full((3, 32, 32), index * 20, dtype=torch.uint8)
                    for i in range(3):
                        to_image(value + i).save(folder / f"{i}.png")
        base = {"data.dataset": str(made[classes]), "data.holdout": 0, "pretrained": "parent"}
        return tiny(**{**base, "data.root": str(made[classes] / ".data"), **changes})

    return make


def parent_weights(root):
    return load_weights(root / "parent" / "last.safetensors")[0]


def test_the_same_classes_keep_every_weight(root, tiny):
    prepared = prepare(tiny(pretrained="parent"), root)
    assert prepared.notes == []
    built = new_model(prepared).state_dict()
    assert all(torch.equal(built[key], value) for key, value in parent_weights(root).items())


@pytest.mark.parametrize(
    ("classes", "note"),
    [
        (DIGITS, "'digit 0', 'digit 1', 'digit 2', 'digit 3', 'digit 4' and 5 more)"),
        (("cat", "dog"), "parent knows 10 classes, this data set has 2"),
    ],
    ids=["as many others", "fewer"],
)
def test_other_classes_get_a_new_last_layer_drawn_by_the_seed(root, own, classes, note):
    prepared = prepare(own(*classes, seed=3), root)
    (shown,) = prepared.notes
    assert note in shown and shown.endswith("its last layer is replaced by a new one")
    built, before = new_model(prepared).state_dict(), parent_weights(root)
    assert all(torch.equal(built[key], before[key]) for key in before if key not in HEAD)
    assert built[HEAD[0]].shape == (len(classes), before[HEAD[0]].shape[1])
    if len(classes) == 10:
        assert not torch.equal(built[HEAD[0]], before[HEAD[0]])
    again = new_model(prepare(own(*classes, seed=3), root)).state_dict()
    other = new_model(prepare(own(*classes, seed=4), root)).state_dict()
    assert torch.equal(built[HEAD[0]], again[HEAD[0]])
    assert not torch.equal(built[HEAD[0]], other[HEAD[0]])


def test_the_same_classes_in_another_order_are_others(root, tiny):
    known = Run(root / "parent").dataset_info()["classes"]
    config = tiny(pretrained="parent")
    assert initial.check(config, root, known) == []
    (note,) = initial.check(config, root, known[::-1])
    assert "its last layer is replaced" in note
    assert initial.load(config, root, known[::-1]).replaces_head


def test_the_terminal_says_so_and_the_run_can_be_resumed(root, own, capsys, every_step):
    config = own(*DIGITS, epochs=2)
    words = config.to_command("digits").split()[2:]
    assert train.main([*words, "--run-root", str(root)]) == 0
    assert "note: parent knows other classes" in capsys.readouterr().out
    run = Run(root / "digits")
    assert "note: parent knows other classes" in run.log()
    assert run.status().notes[0].startswith("parent knows other classes")
    assert run.dataset_info()["classes"] == list(DIGITS)


def test_a_queued_run_is_trained_with_a_new_last_layer(root, own, worker, wait_for):
    run = worker.submit(own(*DIGITS), "queued", root)
    wait_for(lambda: run.status().state is State.FINISHED)
    assert "its last layer is replaced" in run.log()


def test_another_network_is_refused_at_once(root, own, worker, capsys):
    config = own(*DIGITS, **{"model.arch": "vgg11"})
    with pytest.raises(ConfigError, match="arch is resnet10, the network has vgg11") as refused:
        worker.submit(config, "misfit", root)
    assert refused.value.field == "pretrained"
    wide = with_fields(own(*DIGITS), {"model.width": 0.125})
    with pytest.raises(ConfigError, match=r"width is 0.0625, the network has 0.125"):
        worker.submit(wide, "misfit", root)
    # Also before a data set is downloaded.
    far = with_fields(config, {"data.dataset": "cifar10", "data.url": "http://localhost:9/x"})
    words = far.to_command("misfit").split()[2:]
    assert train.main([*words, "--run-root", str(root)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("train.py: --pretrained: 'parent': these weights do not fit: arch is")
    assert not (root / "misfit").exists()


def test_what_is_known_is_checked_before_the_data_is_loaded(root, tiny):
    assert (
        "has 100: its last layer is replaced"
        in initial.check(tiny(pretrained="parent", **{"data.dataset": "cifar100"}), root)[0]
    )
    later = tiny(pretrained="parent", **{"data.dataset": "cifar10"})
    assert initial.check(later, root)[0].endswith("is checked later")


def test_a_weights_file_without_a_run_says_what_cannot_be_checked(root, own, tmp_path):
    file = tmp_path / "some.safetensors"
    shutil.copy(root / "parent" / "last.safetensors", file)
    (note,) = prepare(own(*DIGITS, pretrained=str(file)), root).notes
    assert "the class names of" in note and "are not known" in note
    assert prepare(own("cat", "dog", pretrained=str(file)), root).initial.replaces_head


def test_a_weights_file_without_metadata_is_compared_by_its_shapes(root, own, tmp_path):
    file = tmp_path / "plain.safetensors"
    save_weights(file, parent_weights(root), {})
    assert prepare(own("cat", "dog", pretrained=str(file)), root).initial.replaces_head
    with pytest.raises(ConfigError, match="is missing"):
        initial.check(own(*DIGITS, pretrained=str(file), **{"model.arch": "vgg11"}), root)


def test_a_damaged_config_beside_the_weights_leaves_the_classes_unknown(root, own, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(root / "parent", folder)
    values = json.loads((folder / "config.json").read_text())
    values["dataset_info"] = {"classes": 5}
    (folder / "config.json").write_text(json.dumps(values))
    assert "are not known" in initial.check(own(*DIGITS, pretrained=str(folder)), root, DIGITS)[0]


def test_the_form_says_so_before_the_start(app, root, own, monkeypatch):
    monkeypatch.setattr(folders, "RUN_ROOT", root)
    page: AppTest = app("pages/1_Train.py")
    page.selectbox(key="dataset").set_value("own").run()
    page.segmented_control(key="own_from").set_value("path").run()
    page.text_input(key="dataset_path").set_value(own(*DIGITS).data.dataset).run()
    page.selectbox(key="arch").set_value("resnet10").run()
    page.number_input(key="width").set_value(0.0625).run()
    page.selectbox(key="pretrained").set_value("parent").run()
    assert any("its last layer is replaced" in info.value for info in page.info)
    page.selectbox(key="arch").set_value("vgg11").run()
    assert any("arch is resnet10, the network has vgg11" in e.value for e in page.error)
    assert page.button(key="start").disabled


def test_fine_tuning_takes_the_network_from_its_weights_in_form_and_terminal(
    app, root, own, monkeypatch, tmp_path, capsys
):
    """A run's, or a shipped network's, which is found by its name from any folder of runs."""
    dataset = own(*DIGITS).data.dataset
    monkeypatch.setattr(folders, "RUN_ROOT", root)
    page: AppTest = app("pages/1_Train.py", choices=json.dumps({"data.dataset": dataset}))
    page.selectbox(key="pretrained").set_value("parent").run()
    number, _ = page.session_state["preset_control"]
    page.segmented_control(key=f"preset_{number}").set_value("finetune").run()
    assert page.session_state["dataset_path"] == dataset
    assert page.selectbox(key="arch").value == "resnet10"
    assert page.selectbox(key="pretrained").value == "parent"
    assert any("its last layer is replaced" in info.value for info in page.info)

    words = ["--preset", "finetune", "--dataset", dataset, "--run-root", str(tmp_path / "runs")]
    words += ["--epochs", "1", "--precision", "fp32", "--data-root", str(tmp_path)]
    assert train.main([*words, "--name", "tuned"]) == 0
    run = runs.open_run(tmp_path / "runs", "tuned").config()
    assert (run.model.arch, run.model.width, run.model.num_classes) == ("speedrun", 1.5, 10)
    assert train.main([*words, "--pretrained", "vgg11-shapes", "--name", "other"]) == 0
    assert runs.open_run(tmp_path / "runs", "other").config().model.arch == "vgg11"
    assert train.main([*words, "--pretrained", "nobody", "--name", "none"]) == 2
    assert "nobody" in capsys.readouterr().err.splitlines()[-1]
