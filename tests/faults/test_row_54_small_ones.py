"""Row 54 of docs/FAULTS.md: ignored flags, too many records, unquoted commands, and others."""

import json
import shlex
import subprocess

import pytest
import torch

import train
from engine import runs
from engine.config import OptimConfig, RunConfig, join_command, with_fields
from engine.data import lineage
from engine.estimate import Speed
from engine.models import build_model
from engine.randomness import Purpose, keyed_generator
from engine.runs.checkpoint import load_weights, save_weights
from engine.runs.run import Run, State
from engine.studies.study import Factor, Study, Value
from engine.training import meter
from engine.training.optim import make_optimizer
from engine.training.prepare import prepare


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_row_54_the_rate_of_the_head_reaches_its_bias(optimizer):
    model = build_model("resnet10", width=0.0625)
    config = OptimConfig(optimizer, 0.1, head_lr=7.0, bias_lr=3.0)
    bias = model.get_classifier().bias
    factors = [
        group["factor"]
        for group in make_optimizer(model, config).param_groups
        if any(parameter is bias for parameter in group["params"])
    ]
    assert factors == [21.0]


def test_row_54_a_checkpoint_from_before_the_bias_had_its_group_still_resumes(
    make_trainer, tiny, tmp_path, same
):
    config = tiny(**{"optim.head_lr": 3.0, "epochs": 1})
    trainer = make_trainer(tmp_path, config)
    list(trainer.fit())
    saved = trainer.state.state_dict()
    groups = saved["optimizer"]["param_groups"]
    biases, head_biases = groups[2], groups[3]
    old = [*groups[:2], {**biases, "params": biases["params"] + head_biases["params"]}, *groups[4:]]
    saved["optimizer"]["param_groups"] = old
    again = make_trainer(None, config)
    again.state.load_state_dict(saved)
    resumed = again.state.optimizer.state_dict()["state"]
    assert same(resumed, trainer.state.optimizer.state_dict()["state"])


@pytest.mark.slow
@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize(("epochs", "batch_size"), [(30, 48), (5, 4), (1, 1)])
def test_row_54_step_records_are_at_most_the_limit(
    make_trainer, tiny, monkeypatch, epochs, batch_size
):
    monkeypatch.setattr(meter, "MAX_STEP_RECORDS", 7)
    trainer = make_trainer(config=tiny(epochs=epochs, batch_size=batch_size))
    steps = [r.step for r in trainer.fit() if type(r).__name__ == "StepRecord"]
    assert 3 <= len(steps) <= 7
    assert steps[-1] == trainer.setup.steps


@pytest.mark.parametrize(
    "words",
    [
        *(["--lr", "0.2"], ["--preset", "minute"], ["--name", "b"], ["--holdout", "5"]),
        *(["--export", "a"], ["--study", "norms"], ["--time", "3min"], ["--seeds", "5"]),
        *(["--to", "onnx"], ["--fair-rates"], ["--plan"], ["--resume"]),
    ],
)
def test_row_54_evaluate_refuses_what_it_would_ignore(words, make_run, capsys):
    root = make_run("a").path.parent
    assert train.main(["--evaluate", "a", "--run-root", str(root), *words]) == 2
    line = capsys.readouterr().err
    assert words[0].strip("-") in line
    assert "has no effect with --evaluate" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--list --lr 0.1", "--lr: has no effect with --list"),
        ("--list --evaluate a", "evaluate: has no effect with --list"),
        ("--export a --to onnx --seeds 3", "seeds: has no effect with --export"),
        ("--study norms --to onnx", "to: is the format of --export"),
        ("--study norms --export a", "study: has no effect with --export"),
    ],
)
def test_row_54_no_action_ignores_flags(words, told, tmp_path, capsys):
    roots = ["--run-root", str(tmp_path / "r"), "--study-root", str(tmp_path / "s")]
    assert train.main([*words.split(), *roots]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_row_54_a_study_is_advised_like_a_run(tmp_path, monkeypatch, capsys, shapes_root):
    monkeypatch.setattr("engine.estimate.measure_speed", lambda compute: Speed(1e-12, 1e-12, 1e-5))
    mixing = tuple(Value(f"{on}", {"augment.mixup": on}) for on in (False, True))
    base = {"data.dataset": "shapes", "data.root": str(shapes_root), "data.limit": 50, "epochs": 1}
    study = Study("mixing", "Does mixup help?", (Factor("Mixup", mixing),), base)
    (tmp_path / "mixing.json").write_text(study.to_json())
    roots = ["--run-root", str(tmp_path / "r"), "--study-root", str(tmp_path / "s")]
    words = ["--plan", "--mixup-alpha", "0.3", "--cutmix-alpha", "0.3", "--lr", "3"]
    assert train.main(["--study", str(tmp_path / "mixing.json"), *words, *roots]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert [w for w in warnings if "no effect" in w] == [
        "warning: --cutmix-alpha has no effect without --cutmix-aug"
    ]
    assert sum("learning rate 3 is high" in w for w in warnings) == 1
    assert sum("optimizer steps" in w for w in warnings) == 1


def test_row_54_flags_without_effect_are_warned_of(tiny_args, tmp_path, capsys):
    assert train.main(tiny_args(tmp_path, "-e", 1, "--mixup-alpha", 0.4)) == 0
    assert "--mixup-alpha has no effect without --mixup-aug" in capsys.readouterr().err


def test_row_54_a_command_carries_the_run_root_and_is_quoted_for_its_shell(monkeypatch):
    config = with_fields(RunConfig(), {"data.dataset": "my pets/a&b", "epochs": 3})
    words = ["python", "train.py", "--name", "a", "--run-root", "my runs"]
    words += ["--dataset", "my pets/a&b", "--epochs", "3"]
    assert shlex.split(config.to_command("a", "my runs")) == words
    monkeypatch.setattr("engine.config.os.name", "nt")
    assert join_command(words) == subprocess.list2cmdline(words)
    assert '"my pets/a&b"' in join_command(words)
    for word in ("a&b", "a|b", "100%", "a^b", "a(1)", "a,b"):
        assert join_command(["x", word, "-e", "3"]) == f'x "{word}" -e 3'
    assert join_command(["a&b\\"]) == '"a&b\\\\"'
    assert join_command(["--lr", "0.1", "C:\\runs\\a-1_b.zip"]) == "--lr 0.1 C:\\runs\\a-1_b.zip"


def test_row_54_weights_saved_twice_are_the_same_bytes(tmp_path):
    weights = {"b": torch.arange(7.0), "a": torch.ones(2, 3)}
    header = {f"key {i}": "ü" * i for i in range(9)}
    files = [tmp_path / f"{i}.safetensors" for i in range(5)]
    for file in files:
        save_weights(file, weights, header)
    assert len({file.read_bytes() for file in files}) == 1
    loaded, read = load_weights(files[0])
    assert read == header
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_row_54_a_run_s_weights_are_the_same_bytes_when_it_is_repeated(tiny_args, tmp_path):
    for name in "ab":
        assert train.main(tiny_args(tmp_path, "--name", name, "-e", 1)) == 0
    first, second = (Run(tmp_path / name).path / "last.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_row_54_new_runs_stratify_and_old_ones_keep_their_split(
    tmp_path, tiny, train_run, every_step
):
    values = {"data.holdout": 50, "data.limit": 100, "batch_size": 50, "epochs": 2}
    run = runs.create(tmp_path, "run", tiny(**values))
    answers = iter([None, None])
    assert train_run(run, ask=lambda: next(answers, "pause")) is State.PAUSED
    new = prepare(run.config(), tmp_path, run)
    assert run.config().data.stratified
    counts = new.info.train_labels.bincount()
    for labels, share in ((new.splits.val_labels, 0.1), (new.splits.train_labels, 0.2)):
        assert (labels.bincount(minlength=10) - share * counts).abs().max() < 1.2

    stored = json.loads((run.path / "config.json").read_text())
    del stored["data"]["stratified"]
    (run.path / "config.json").write_text(json.dumps(stored))
    old = prepare(run.config(), tmp_path, run)
    images = new.info.train_images
    order = torch.randperm(len(images), generator=keyed_generator(0, Purpose.SPLIT))
    assert torch.equal(old.splits.val_images, images[order[:50].sort().values])
    assert torch.equal(old.splits.train_images, images[order[50:150].sort().values])
    assert train_run(run) is State.FINISHED
    assert not run.config().data.stratified
    # A new run from the weights of the old one: stratified, without the images of its training.
    child = prepare(tiny(**values, pretrained="run", seed=1), tmp_path)
    assert child.config.data.stratified
    assert [training.stratified for training in child.lineage] == [False]
    assert child.splits.val_seen == 0
    seen = lineage.trained_on(child.lineage, new.info)
    assert torch.equal(seen.nonzero().flatten(), order[50:150].sort().values)
