"""train.py as a person uses it. Bad settings, signals and crashes are in tests/faults."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train
from engine.config import SETTINGS, RunConfig, with_fields
from engine.data import download
from engine.device import resolve
from engine.models import ARCHITECTURES
from engine.models.summary import count_parameters
from engine.predict import load_network
from engine.runs.checkpoint import describe_model, load_weights, save_weights
from engine.runs.run import Run, State
from terminal.display import Signals

pytestmark = pytest.mark.usefixtures("one_thread")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_args, one_thread) -> Run:
    root = tmp_path_factory.mktemp("trained")
    assert train.main(tiny_args(root, "--name", "a")) == 0
    return Run(root / "a")


def in_runs_of(run: Run, *words: object) -> list[str]:
    return [*map(str, words), "--run-root", str(run.path.parent)]


COMMANDS = {  # as in README.md
    "--name r18 --arch resnet18 --sche cosine_annealing --lr 0.1 -e 250": {"epochs": 250},
    "--name d121 --arch densenet121 --lr 0.1 -m 20 -m 40 -m 60 -m 80": {
        "model.arch": "densenet121",
        "schedule.kind": "multi_step",
        "schedule.milestones": (20, 40, 60, 80),
    },
    "--name r18e --arch resnet18 --erase-aug": {"augment.erasing": True},
    "--name r18m --arch resnet18 --mixup-aug --mixup-alpha 0.3": {
        "augment.mixup": True,
        "augment.mixup_alpha": 0.3,
    },
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documented_commands_mean_what_they_say(command_config, command):
    assert f"python train.py {command}\n" in (REPOSITORY / "README.md").read_text("utf-8")
    assert command_config(shlex.split(command)) == with_fields(RunConfig(), COMMANDS[command])


def test_no_flags_mean_the_studys_recipe(command_config):
    config = command_config([])
    assert config == RunConfig()
    assert (config.optim.optimizer, config.optim.lr, config.optim.weight_decay) == (
        "sgd",
        0.1,
        5e-4,
    )
    assert (config.batch_size, config.epochs) == (128, 100)
    assert (config.schedule.kind, config.schedule.gamma) == ("cosine_annealing", 0.1)
    assert (config.augment.mixup, config.augment.mixup_alpha) == (False, 0.2)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("-m 20 -m 40", {"schedule.kind": "multi_step", "schedule.milestones": (20, 40)}),
        ("--learning-rate 0.5 --wd 0.01", {"optim.lr": 0.5, "optim.weight_decay": 0.01}),
        ("-a vgg11 -b 32 -e 3", {"model.arch": "vgg11", "batch_size": 32, "epochs": 3}),
        ("--no-crop --no-flip", {"augment.crop": False, "augment.flip": False}),
    ],
)
def test_short_and_other_spellings_are_understood(command_config, words, changes):
    assert command_config(words.split()) == with_fields(RunConfig(), changes)


def test_the_list_has_every_architecture_with_its_parameters(capsys):
    assert train.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ARCHITECTURES)
    for line in lines:
        name, count, description = line.split(maxsplit=2)
        assert count == f"{count_parameters(name):,}"
        assert description == ARCHITECTURES[name].description


def test_help_names_every_flag_and_its_default(capsys):
    with pytest.raises(SystemExit) as ending:
        train.main(["--help"])
    assert ending.value.code == 0
    out = capsys.readouterr().out
    flags = [flag for s in SETTINGS.values() if s.flag for flag in (s.flag, *s.aliases)]
    for flag in [*flags, "--resume", "--evaluate", "--list", "--run-root"]:
        assert flag in out
    assert "default: 0.0005)" in " ".join(out.split())


def test_a_training_prints_a_line_an_epoch_and_what_it_reached(trained, capsys, tiny_args):
    assert train.main(tiny_args(trained.path.parent, "--name", "b")) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("run 'b': resnet10, 19,902 parameters, shapes (48 training images)")
    assert lines[1] == "validation: held-out training images (40 images)"
    number = r"\d+\.\d+"
    for epoch, line in enumerate(lines[2:4], start=1):
        figures = rf"train loss {number} acc {number}  val loss {number} acc {number}"
        assert re.match(rf"epoch {epoch}/2  {figures}  lr \S+  {number} s", line)
    assert re.fullmatch(
        rf"final {number} %, best {number} % \(epoch [12]\) on held-out training images "
        r"\(40 images\)",
        lines[4],
    )
    assert re.fullmatch(rf"final {number} % on the test set", lines[5])
    assert len(lines) == 6
    assert "Traceback" not in err


def test_validating_on_the_test_set_is_said_so(tmp_path, tiny_args, capsys):
    assert train.main(tiny_args(tmp_path, "--holdout", 0, "-e", 1)) == 0
    out = capsys.readouterr().out
    assert "validation: the test set (200 images)" in out
    assert "on the test set (200 images); the best was selected on test data" in out


def test_the_runs_own_command_repeats_it(trained, capsys):
    command = trained.config().to_command("again")
    assert train.main(in_runs_of(trained, *shlex.split(command)[2:])) == 0
    again = trained.path.with_name("again")
    first, _ = load_weights(trained.path / "last.safetensors")
    second, _ = load_weights(again / "last.safetensors")
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("more", [[], ["--tta"]], ids=["plain", "tta"])
@pytest.mark.parametrize("file", ["", "best.safetensors"], ids=["run", "file"])
def test_evaluation_ends_with_the_accuracy_on_the_test_images(trained, capsys, more, file):
    target = trained.path / file if file else "a"
    assert train.main(in_runs_of(trained, "--evaluate", target, *more)) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    found = re.fullmatch(r"accuracy (\d+\.\d\d) % \((\d+)/200\)", line)
    assert found, line
    assert float(found[1]) == pytest.approx(100 * int(found[2]) / 200, abs=0.005)


def test_a_file_of_weights_that_always_say_one_class_has_that_classs_share(
    trained, tmp_path, capsys
):
    folder = shutil.copytree(trained.path, tmp_path / "biased")
    network = load_network(folder, resolve("cpu", "fp32"))
    with torch.no_grad():
        network.model.get_parameter("head.2.weight").zero_()
        network.model.get_parameter("head.2.bias").copy_(torch.arange(10) == 3)
    header = describe_model(network.config.model)
    save_weights(folder / "last.safetensors", network.model.state_dict(), header)
    assert train.main(["--evaluate", str(folder)]) == 0
    # the built-in set draws its classes in equal shares, so a tenth of 200 test images
    assert capsys.readouterr().out.splitlines()[-1] == "accuracy 10.00 % (20/200)"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--precision", "fp61"], "--precision: unknown value 'fp61'"),
        (["--device", "cuda:99"], "--device: cuda:99 is not available"),
        (["--dataset", "nowhere/at/all"], "no data set"),
    ],
)
def test_an_evaluation_that_cannot_work_is_refused(trained, capsys, words, named):
    assert train.main(in_runs_of(trained, "--evaluate", "a", *words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert named in err
    assert err.count("\n") == 1


def test_cifar10_that_is_absent_and_unreachable_is_refused_with_the_ways_on(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(download, "BACKOFF_SECONDS", ())
    words = ["--data-root", str(tmp_path / "data"), "--run-root", str(tmp_path / "runs")]
    assert train.main([*words, "--data-url", "http://127.0.0.1:9/cifar-10-python.tar.gz"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("train.py: CIFAR-10 is not under")
    assert "Put cifar-10-python.tar.gz under" in last
    assert "--dataset shapes" in last
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (["-m", 1, "-m", 40], "warning: milestone 40 is past the last epoch, 1"),
        (
            ["--optim", "adam", "--lr", 0.1],
            "warning: learning rate 0.1 is high for adam; 0.001 is usual",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning_not_a_refusal(
    tmp_path, tiny_args, capsys, words, warning
):
    assert train.main(tiny_args(tmp_path, "-e", 1, *words)) == 0
    assert warning in capsys.readouterr().err.splitlines()


def test_a_stop_from_elsewhere_ends_it_and_a_resume_finishes_it(
    tmp_path, tiny_args, capsys, at_step, every_step, scalars
):
    run = Run(tmp_path / "a")
    at_step("a", 4, lambda: run.request("stop"))
    assert train.main(tiny_args(tmp_path, "--name", "a")) == 0
    assert run.status().state is State.STOPPED
    assert "stopped at step 4 of 6, saved; resume with: python train.py" in capsys.readouterr().out
    assert train.main(in_runs_of(run, "--resume", "--name", "a")) == 0
    assert run.status().state is State.FINISHED
    shown = scalars(run)
    assert sorted(shown) == ["Train/acc", "Train/loss", "Val/acc", "Val/loss", "lr"]
    assert all([epoch for epoch, _ in points] == [1, 2] for points in shown.values())


def test_a_moved_data_folder_is_named_on_resume(
    tmp_path, tiny_args, shapes_root, capsys, at_step, every_step
):
    run = Run(tmp_path / "a")
    at_step("a", 2, lambda: run.request("pause"))
    train.main(tiny_args(tmp_path, "--name", "a"))
    moved = shutil.copytree(shapes_root, tmp_path / "elsewhere")
    assert train.main(in_runs_of(run, "--resume", "--name", "a", "--data-root", moved)) == 0
    assert run.config().data.root == str(moved)


def test_an_extension_starts_from_another_runs_weights(trained, tiny_args, capsys):
    root = trained.path.parent
    assert train.main(tiny_args(root, "--name", "more", "--pretrained", "a", "-e", 1)) == 0
    assert Run(root / "more").config().pretrained == "a"


def test_a_failure_is_told_with_its_reason_and_exit_code_1(
    tmp_path, tiny_args, capsys, at_step, every_step
):
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory")

    at_step("a", 3, fail)
    assert train.main(tiny_args(tmp_path, "--name", "a")) == 1
    err = capsys.readouterr().err
    assert "train.py: run 'a' failed: out of memory: try a smaller batch size" in err


def test_a_full_disk_is_told_though_the_runs_files_cannot(
    tmp_path, tiny_args, capsys, at_step, every_step, monkeypatch
):
    def full(source, target):
        raise OSError(28, "No space left on device")

    at_step("a", 2, lambda: monkeypatch.setattr("engine.files.replace", full))
    assert train.main(tiny_args(tmp_path, "--name", "a")) == 1
    err = capsys.readouterr().err
    assert "train.py: run 'a' failed: run 'a': status.json cannot be written: No space left" in err


def test_as_a_script_it_exits_with_the_code_and_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "train.py", "--lr", "nan"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "train.py: --lr: nan is not a finite number\n"


def test_the_config_on_disk_is_what_was_asked(trained, command_config, tiny_args):
    asked = command_config(tiny_args(trained.path.parent))
    stored = json.loads((trained.path / "config.json").read_text())
    assert stored["dataset_info"]["name"] == "shapes"
    assert trained.config() == with_fields(
        asked, {"model.num_classes": 10, "data.stratified": True}
    )


def test_what_a_preset_turns_on_can_be_turned_off():
    words = ["--preset", "speedrun", "--no-progressive", "--no-tta", "--crop", "--no-crop"]
    args = vars(train.make_parser().parse_args(words))
    assert (args["progressive"], args["tta"], args["augment.crop"]) == (False, False, False)


def test_a_network_too_deep_for_small_images_is_refused_in_one_line(capsys):
    words = ["--arch", "vgg11", "--norm", "instance", "--progressive", "--dataset", "shapes"]
    assert train.main(words) == 2
    assert capsys.readouterr().err.startswith("train.py: --progressive: ")


def test_a_second_sigterm_does_not_end_at_once():
    """Supervisors signal the launcher and the process; each brings one."""
    signals = Signals()
    with signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert signals.ask() == "interrupt"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
