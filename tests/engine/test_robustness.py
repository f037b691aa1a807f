"""What a terminal, a power cut or a changed data set must not do to a run."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import train
from engine.config import with_fields
from engine.errors import DataError, RunError
from engine.runs.run import Run, State
from engine.training.prepare import prepare

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def stopped(make_run, train_run, one_thread, every_step):
    """A run that was stopped in its first epoch."""
    run, answers = make_run(), iter([None, None])
    assert train_run(run, ask=lambda: next(answers, "stop")) is State.STOPPED
    return run


def test_images_that_changed_since_a_run_began_are_refused(stopped):
    values = json.loads((stopped.path / "config.json").read_text())
    values["dataset_info"]["mean"][0] += 0.01
    (stopped.path / "config.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match="not those that run 'a' began with"):
        prepare(stopped.config(), stopped.path.parent, stopped)


def test_a_checkpoint_of_another_network_is_refused_item_by_item(stopped, train_run):
    values = json.loads((stopped.path / "config.json").read_text())
    values["model"]["arch"] = "vgg11"
    (stopped.path / "config.json").write_text(json.dumps(values))
    assert train_run(stopped) is State.FAILED
    message = stopped.status().message
    assert message.startswith("these weights do not fit: arch is resnet10, the network has vgg11")


def test_a_run_whose_status_was_lost_can_go_on(stopped, train_run):
    (stopped.path / "status.json").write_bytes(b"")
    assert train_run(stopped) is State.FINISHED
    assert stopped.status().step == 6


def test_a_folder_without_a_config_still_has_no_writer(tmp_path):
    with pytest.raises(RunError, match="there is no run"), Run(tmp_path).hold("test"):
        pytest.fail("held")


def test_a_checkpoint_made_without_fp16_goes_on_with_it(make_trainer, tiny, tmp_path, one_thread):
    records = make_trainer(tmp_path).fit()
    step = [next(records) for _ in range(4)][-1].step
    records.close()
    trainer = make_trainer(tmp_path, with_fields(tiny(), {"precision": "fp16"}))
    assert next(trainer.fit()).step == step > 0


def test_a_run_resumed_while_its_thread_lets_go_of_it_is_trained(
    worker, tiny, tmp_path, at_step, every_step, monkeypatch, wait_for
):
    run, hold, states = Run(tmp_path / "a"), Run.hold, []

    @contextlib.contextmanager
    def hold_then_resume(held, who):
        with hold(held, who) as writer:
            yield writer
        if threading.current_thread().name == "training-cpu" and not states:
            states.append(run.status().state)
            worker.resume(run)  # its lock is free, and the thread has not left it yet

    monkeypatch.setattr(Run, "hold", hold_then_resume)
    at_step("a", 1, lambda: worker.pause(run))
    worker.submit(tiny(), "a", tmp_path)
    wait_for(lambda: states, "the pause")
    assert states == [State.PAUSED]
    wait_for(lambda: run.status().state is State.FINISHED, "the resumed run to be trained")


def test_output_that_nobody_reads_does_not_end_the_training(tmp_path, tiny_args):
    words = [sys.executable, "train.py", *tiny_args(tmp_path, "--name", "a")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        child.wait()
    assert Run(tmp_path / "a").status().state is State.FINISHED


def test_a_terminal_without_the_multiplication_sign_gets_the_list(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "train.py", "--list"]
    done = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "convmixer" in done.stdout


def test_a_folder_of_runs_that_cannot_be_read_is_one_line(tiny_args, capsys):
    assert train.main(tiny_args("x" * 300, "--name", "a")) == 2
    err = capsys.readouterr().err
    assert err.startswith("train.py: cannot read the folder of runs") and err.count("\n") == 1


def test_a_folder_of_runs_whose_name_is_not_unicode_is_refused(tmp_path, tiny_args, capsys):
    root = Path(f"{tmp_path}/\udcff")  # how Python tells a byte that is not UTF-8
    assert train.main(tiny_args(root, "--name", "a")) == 2
    assert "unprintable characters" in capsys.readouterr().err
    assert not root.exists()


def test_the_best_weights_measured_on_what_selected_them_say_so(
    make_run, tiny, train_run, capsys, one_thread
):
    run = make_run(config=tiny(**{"data.holdout": 0}))
    assert train_run(run) is State.FINISHED
    for file, said in (("best.safetensors", True), ("last.safetensors", False)):
        assert train.main(["--evaluate", str(run.path / file)]) == 0
        assert ("which selected these weights" in capsys.readouterr().out) is said
