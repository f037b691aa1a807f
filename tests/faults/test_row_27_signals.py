"""Row 27 of docs/FAULTS.md: SIGTERM and Ctrl-C."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import train
from engine import data
from engine.runs.run import Run, State
from engine.training import loop

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

REPOSITORY = Path(__file__).resolve().parents[2]


class Script:
    """`python train.py` on a run that would take hours."""

    def __init__(self, root: Path, words: list[str]):
        self.run = Run(root / "long")
        self.process = subprocess.Popen(
            [sys.executable, "train.py", *words, "--name", "long", "-e", "100000"],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def is_training(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[0]
        return self.run.path.exists() and self.run.status().step > 0


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send these signals to one process")
def test_row_27_a_real_process_saves_and_exits_with_the_signals_code(tmp_path, tiny_args, wait_for):
    scripts = {
        number: Script(tmp_path / number.name, tiny_args(tmp_path / number.name))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        for number, script in scripts.items():
            wait_for(script.is_training, f"{number.name}'s training")
            script.process.send_signal(number)
        for number, script in scripts.items():
            check_end(script, number)
    finally:
        for script in scripts.values():
            script.process.kill()


def check_end(script: Script, number: int) -> None:
    output, _ = script.process.communicate(timeout=100)
    assert script.process.returncode == 128 + number, output
    assert "finishing this batch and saving" in output
    run, status = script.run, script.run.status()
    assert status.state is State.INTERRUPTED
    assert (run.path / "resume" / str(status.step)).is_dir()
    again = f"python train.py --name long --resume --run-root {run.path.parent}"
    assert output.rstrip().endswith(
        f"interrupted at step {status.step} of 300000, saved; resume with: {again}"
    )


@pytest.fixture
def signal_at(monkeypatch):
    """signal_at(2, SIGINT) sends this process the signal in the training's second step."""

    step = loop.train_step

    def arrange(number: int, *signals: int) -> None:
        def step_and_signal(*args):
            metrics = step(*args)
            if metrics.step == number:
                for each in signals:
                    signal.raise_signal(each)
            return metrics

        monkeypatch.setattr(loop, "train_step", step_and_signal)

    return arrange


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_row_27_the_checkpoint_is_of_that_step_and_the_told_command_goes_on_from_it(
    tmp_path, tiny_args, capsys, signal_at, checkpoint_of, same, lasting, number, code
):
    root = tmp_path / "some runs"
    assert train.main(tiny_args(root, "--name", "whole")) == 0
    signal_at(4, number)
    before = signal.getsignal(signal.SIGINT)  # in a job of the background SIGINT is ignored
    assert train.main(tiny_args(root, "--name", "cut")) == code
    cut, whole = Run(root / "cut"), Run(root / "whole")
    assert cut.status().state is State.INTERRUPTED
    assert cut.status().step == 4
    assert (cut.path / "resume" / "4").is_dir()
    assert signal.getsignal(signal.SIGINT) is before
    out = capsys.readouterr().out
    told = out.rpartition("resume with: ")[2]
    assert "interrupted at step 4 of 6, saved; resume with: " in out
    assert train.main(shlex.split(told)[2:]) == 0
    assert same(checkpoint_of(cut.path), checkpoint_of(whole.path))
    assert lasting(cut.records()[0]) == lasting(whole.records()[0])


def test_row_27_a_second_ctrl_c_ends_at_once_from_the_last_checkpoint(
    tmp_path, tiny_args, capsys, signal_at
):
    signal_at(5, signal.SIGINT, signal.SIGINT)
    assert train.main(tiny_args(tmp_path, "--name", "cut")) == 130
    err = capsys.readouterr().err
    assert "ended at once; the steps since the last checkpoint will be trained again" in err
    assert f"resume with: python train.py --name cut --resume --run-root {tmp_path}" in err
    assert "nothing was made" not in err
    run = Run(tmp_path / "cut")
    assert not run.is_alive()
    signal_at(99)
    assert train.main(["--resume", "--name", "cut", "--run-root", str(tmp_path)]) == 0
    assert [r["step"] for r in run.records()[0] if r["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_row_27_ctrl_c_before_the_training_makes_no_run(tmp_path, tiny_args, capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    assert train.main(tiny_args(tmp_path / "runs", "--name", "cut")) == 130
    assert "nothing was made" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
