"""Row 19 of docs/FAULTS.md: damaged checkpoint files."""

import json

import pytest
import torch

from engine.errors import CheckpointError
from engine.runs.checkpoint import CheckpointStore, load_weights, save_weights
from engine.training import session
from engine.training.prepare import prepare

FILES = ["weights.safetensors", "state.pt", "manifest.json"]


def flipped(content: bytes, at: float) -> bytes:
    index = min(int(at * len(content)), len(content) - 1)
    return content[:index] + bytes([content[index] ^ 0x10]) + content[index + 1 :]


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "empty": lambda content: b"",
    "text": lambda content: b"<html>404 Not Found</html>",
    "flipped at the start": lambda content: flipped(content, 0),
    "flipped in the middle": lambda content: flipped(content, 0.5),
    "flipped at the end": lambda content: flipped(content, 1),
    "absent": None,
}


@pytest.fixture
def folder(tmp_path):
    store = CheckpointStore(tmp_path, {"schema": "1"})
    for step in (1, 2):
        store.save(step, {"w": torch.arange(64.0) * step}, {"step": step, "m": torch.ones(64)})
    return tmp_path


def spoil(path, damage: str) -> None:
    if DAMAGES[damage] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_row_19_a_damaged_newest_checkpoint_gives_way_to_the_previous(folder, file, damage):
    spoil(folder / "resume" / "2" / file, damage)
    checkpoint = CheckpointStore(folder, {}).load_newest()
    assert checkpoint.step == 1
    assert torch.equal(checkpoint.weights["w"], torch.arange(64.0))


@pytest.mark.parametrize("file", FILES)
def test_row_19_when_all_are_damaged_there_is_one_error(folder, file):
    for step in ("1", "2"):
        spoil(folder / "resume" / step / file, "text")
    with pytest.raises(CheckpointError, match="every checkpoint of this run is damaged"):
        CheckpointStore(folder, {}).load_newest()


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        {},
        {"schema": "x", "sha256": {}},
        {"schema": None, "sha256": {}},
        {"schema": 1, "sha256": {}},
        {"schema": 1, "sha256": 3},
        {"schema": 1, "sha256": {"state.pt": "0"}},
    ],
    ids=str,
)
def test_row_19_a_manifest_that_vouches_for_nothing_is_damage(folder, manifest):
    (folder / "resume" / "2" / "manifest.json").write_text(json.dumps(manifest))
    assert CheckpointStore(folder, {}).load_newest().step == 1


@pytest.mark.parametrize("damage", [d for d in DAMAGES if "middle" not in d and "end" not in d])
def test_row_19_a_damaged_weights_file_is_one_checkpoint_error(tmp_path, damage):
    path = tmp_path / "best.safetensors"
    save_weights(path, {"w": torch.ones(64)}, {"schema": "1"})
    spoil(path, damage)
    with pytest.raises(CheckpointError, match=r"^best\.safetensors: ") as error:
        load_weights(path)
    assert "\n" not in str(error.value)


def test_row_19_a_damaged_run_says_so_and_fails(make_run, tiny, one_thread):
    """Through a whole session: resumed from damage only, the run fails with the reason."""
    run = make_run()
    (run.path / "resume" / "3").mkdir(parents=True)
    prepared = prepare(tiny(), run.path.parent, run)
    with run.hold("test") as writer:
        session.run_training(writer, prepared)
    assert run.status().state == "failed"
    assert "every checkpoint of this run is damaged" in run.status().message
