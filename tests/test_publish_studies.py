"""scripts/publish_studies.py: records of studies, and the document that is written from them."""

import dataclasses
import json

import pytest

from engine import data
from engine.errors import StudyError
from engine.runs.run import Run
from engine.studies import study as studies
from engine.studies.published import STUDIES
from engine.studies.study import Factor, Study, Value
from scripts import publish_studies

NAME = "activations-and-norms"


@pytest.fixture
def folder(tmp_path):
    """Records of two seeds, each from a machine of its own."""
    chosen = dataclasses.replace(STUDIES[NAME], base={"epochs": 2, "data.dataset": "pictures.zip"})
    for seed, machine in enumerate(("a CPU, bf16", "another CPU, bf16")):
        rows = enumerate(chosen.rows())
        outcomes = [
            {
                **{"value": row.name, "seed": seed, "accuracy": 0.5 + 0.05 * index + 0.01 * seed},
                **{"chance": 0.1, "n_images": 100, "state": "finished", "confounds": []},
                "block": machine,
            }
            for index, row in rows
        ]
        runs = {row.name: {"seconds": 60.0, "threads": 2} for row in chosen.rows()}
        record = {"study": json.loads(chosen.to_json()), "data": "Pictures"}
        record |= {"outcomes": outcomes, "runs": runs}
        (tmp_path / f"{NAME}-s{seed}.json").write_text(json.dumps(record))
    return tmp_path


def test_blocks_of_several_machines_are_pooled(folder):
    text, svg = publish_studies.section(publish_studies.read(folder)[NAME])
    # One seed on each machine: what all values share is no spread between seeds.
    assert "| leaky ReLU/batch | 2 | 55.50 ± 0.00 | +5.0 " in text
    assert "2 of 3 planned seeds; a CPU, bf16; another CPU, bf16, 2 threads, 14 minutes" in text
    assert f"--study {NAME} --seeds 3 --epochs 2 --dataset pictures.zip" in text
    assert "- Interim: 14 of 21 planned runs have finished." in text
    assert "- Width 1, 2 epochs instead of 250." in text
    assert svg.startswith(b"<svg")


def test_blocks_of_two_recipes_are_refused(folder):
    path = folder / f"{NAME}-s1.json"
    record = json.loads(path.read_text())
    record["study"]["base"]["epochs"] = 3
    path.write_text(json.dumps(record))
    with pytest.raises(StudyError, match=f"docs/studies/{NAME}-\\*.json: the blocks have"):
        publish_studies.section(publish_studies.read(folder)[NAME])


def test_a_block_of_another_machine_does_not_replace_one_of_the_same_seed(
    tmp_path, shapes_root, make_run, train_run
):
    values = (Value("SGD", {"optim.momentum": 0.9}), Value("plain SGD", {"optim.momentum": 0.0}))
    base = {
        **{"epochs": 1, "data.dataset": "shapes", "data.root": str(shapes_root)},
        **{"data.limit": 20, "model.arch": "resnet10", "model.width": 0.0625, "batch_size": 10},
    }
    chosen = Study("momentum", "Momentum?", (Factor("Momentum", values),), base, seeds=(0,))
    studies.save(chosen, tmp_path / "studies")
    for name, row, seed in chosen.runs():
        train_run(make_run(name, chosen.config(row, seed)))
    out = tmp_path / "out"

    def record() -> list[str]:
        paths = publish_studies.record("momentum", "Shapes", tmp_path / "studies", tmp_path, out)
        return [path.name for path in paths]

    assert record() == record() == ["momentum-s0.json"]  # once more, from the same machine
    kept = json.loads((out / "momentum-s0.json").read_text())
    for outcome in kept["outcomes"]:
        outcome["block"] = "Another CPU, fp32"
    (out / "momentum-s0.json").write_text(json.dumps(kept))
    (second,) = record()
    assert second.startswith("momentum-s0-") and record() == [second]
    assert json.loads((out / "momentum-s0.json").read_text()) == kept


def test_only_finished_blocks_are_kept(shapes_root, tmp_path, make_run, train_run):
    values = (Value("SGD", {"optim.momentum": 0.9}), Value("plain SGD", {"optim.momentum": 0.0}))
    base = {
        **{"epochs": 1, "data.dataset": "shapes", "data.root": str(shapes_root)},
        **{"data.limit": 20, "model.arch": "resnet10", "model.width": 0.0625, "batch_size": 10},
    }
    chosen = Study("momentum", "Momentum?", (Factor("Momentum", values),), base, seeds=(0, 1))
    root = tmp_path / "studies"
    studies.save(chosen, root)
    for name, row, seed in chosen.runs()[:3]:  # all of seed 0, one of seed 1
        train_run(make_run(name, chosen.config(row, seed)))
    paths = publish_studies.record("momentum", "Shapes", root, tmp_path, tmp_path / "out")
    assert [path.name for path in paths] == ["momentum-s0.json"]
    record = json.loads(paths[0].read_text())
    assert "data.root" not in record["study"]["base"]
    assert [row["state"] for row in record["outcomes"]] == ["finished"] * 2
    images = len(data.load("shapes", shapes_root).test_images)
    assert [row["n_images"] for row in record["outcomes"]] == [images] * 2
    accuracy = Run(tmp_path / chosen.runs()[0][0]).status().final_acc
    assert record["outcomes"][0]["accuracy"] == accuracy == record["runs"]["SGD"]["val_acc"][-1]


def test_the_document_is_that_of_the_records(tmp_path):
    texts = [publish_studies.HEAD]
    for blocks in publish_studies.read(publish_studies.RECORDS).values():
        texts.append(publish_studies.section(blocks)[0])
    document = publish_studies.RECORDS.parent / "studies.md"
    assert document.read_text(encoding="utf-8") == "\n".join(texts)
