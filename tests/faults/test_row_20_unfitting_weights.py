"""Row 20 of docs/FAULTS.md: weights that do not fit the network."""

import json

import pytest
import torch

from engine.config import ModelConfig
from engine.errors import CheckpointError
from engine.models import build_model
from engine.runs.checkpoint import (
    SCHEMA,
    CheckpointStore,
    apply_weights,
    describe_model,
    load_weights,
    save_weights,
)

CHOICE = ModelConfig("resnet10", width=0.0625, num_classes=10)
HEADER = describe_model(CHOICE)


def network(**changes):
    choice = {"arch": CHOICE.arch, "num_classes": 10, "width": CHOICE.width} | changes
    return build_model(**choice)


def refusal(weights, header) -> str:
    """The message, once it is shown that the network was left alone."""
    model = network(seed=9)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        apply_weights(model, weights, header, HEADER)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "item"),
    [
        ({"arch": "vgg11"}, "arch is vgg11, the network has resnet10"),
        ({"num_classes": "100"}, "num_classes is 100, the network has 10"),
        ({"width": "2"}, "width is 2, the network has 0.0625"),
        ({"norm": "group"}, "norm is group, the network has batch"),
        ({"activation": "mish"}, "activation is mish, the network has relu"),
        ({"schema": str(SCHEMA + 1)}, f"schema {SCHEMA + 1} is newer than this program's"),
        ({"schema": "one"}, "schema 'one' is not a number"),
        ({"arch": "x" * 5000}, f"arch is {'x' * 60}, the network"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_row_20_an_edited_header_is_refused_by_the_item(changes, item):
    assert item in refusal(dict(network().state_dict()), HEADER | changes)


def test_row_20_another_class_count_is_refused_by_its_tensors_too():
    message = refusal(dict(network(num_classes=7).state_dict()), {})
    assert "head.2.weight has shape (7, 32), the network (10, 32)" in message
    assert "head.2.bias has shape (7,), the network (10,)" in message


def test_row_20_another_architecture_is_refused_with_the_first_few_items_and_a_count():
    message = refusal(dict(network(arch="vgg11").state_dict()), {})
    assert "is missing" in message
    assert message.count(";") == 5
    assert message.endswith("more")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_row_20_weights_that_are_not_finite_are_refused_by_name(value):
    weights = {key: tensor.clone() for key, tensor in network().state_dict().items()}
    weights["head.2.bias"][3] = value
    assert "head.2.bias holds values that are not finite" in refusal(weights, HEADER)


def test_row_20_a_missing_and_an_unknown_tensor_are_both_named():
    weights = dict(network().state_dict())
    weights["extra"] = weights.pop("head.2.bias")
    message = refusal(weights, HEADER)
    assert "head.2.bias is missing" in message
    assert "extra is unknown" in message


def test_row_20_an_edited_file_is_refused_on_its_way_from_disk(tmp_path):
    path = tmp_path / "best.safetensors"
    save_weights(path, network().state_dict(), HEADER | {"arch": "densenet121"})
    assert "arch is densenet121" in refusal(*load_weights(path))


def test_row_20_a_checkpoint_of_a_newer_schema_is_not_taken_for_damage(tmp_path):
    """Falling back to an older one would train over what the newer version did."""
    store = CheckpointStore(tmp_path, HEADER)
    for step in (1, 2):
        store.save(step, network().state_dict(), {"step": step})
    manifest = tmp_path / "resume" / "2" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": SCHEMA + 1}))
    with pytest.raises(CheckpointError, match="newer version; update"):
        store.load_newest()
