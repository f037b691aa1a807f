"""Train a network from the terminal: the same engine as the browser's, without the browser."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path

from engine import advice, estimate, runs
from engine.config import SETTINGS, RunConfig, join_command, with_fields
from engine.device import memory_bytes
from engine.errors import (
    Cancelled,
    CheckpointError,
    ConfigError,
    DataError,
    RunError,
    StudyError,
    TrainingFailed,
)
from engine.presets import FINE_TUNE, PRESETS
from engine.recipe import usual_lr
from engine.runs.checkpoint import has_checkpoint
from engine.runs.folder import resume_words
from engine.runs.run import RESUMABLE, Run, RunWriter, State
from engine.settings import get_field
from engine.training import initial, session
from engine.training.group import (
    Ended,
    Group,
    destroy_process_group,
    init_process_group,
    store_run_name,
    stored_run_name,
)
from engine.training.prepare import Prepared, prepare
from terminal.arguments import make_parser, one_line
from terminal.display import (
    DataBar,
    Display,
    Signals,
    print_introduction,
    print_warnings,
    validated_on,
)
from terminal.evaluation import evaluate_run, export_run, list_architectures
from terminal.study import run_study

FAILED = 1  # exit code


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code. 0: done, 1: the training failed, 2: bad arguments."""
    args = make_parser().parse_args(arguments)
    given = {path: value for path, value in vars(args).items() if path in SETTINGS}
    given = {path: tuple(v) if isinstance(v, list) else v for path, v in given.items()}
    if "schedule.milestones" in given:
        given.setdefault("schedule.kind", "multi_step")
    group, code = init_process_group(), FAILED
    try:
        code = _command(args, given, group)
    except (ConfigError, DataError, RunError, StudyError, CheckpointError) as error:
        if group.is_main:
            print(f"train.py: {_with_flag(error)}", file=sys.stderr)
        group.release()
        code = 2
    except (Cancelled, KeyboardInterrupt):
        print("train.py: interrupted; nothing was made", file=sys.stderr)
        group.release()
        code = 130
    finally:
        if code in (0, 2):  # after a failure or Ctrl-C others may be in the middle of a step
            destroy_process_group()
    return code


def _command(args: argparse.Namespace, given: dict, group: Group) -> int:
    """What the arguments ask for; the exit code."""
    if args.list:
        return list_architectures(args, given)
    if args.evaluate is not None:
        return evaluate_run(args, given)
    if args.export is not None:
        return export_run(args, given)
    if args.to:
        raise ConfigError("to", "is the format of --export; give that too")
    if args.study is not None:
        if group.world_size > 1:
            raise ConfigError("study", "is for one process; without torchrun it uses every GPU")
        return run_study(args, _start(args, given))
    for name in ("time", "seeds", "plan", "fair_rates"):
        if getattr(args, name):
            raise ConfigError(name.replace("_", "-"), "is for a study; give --study too")
    if args.preset and args.resume:
        raise ConfigError("preset", "is for a new run; a resumed run keeps its own choices")
    if not group.is_main:
        return join_run(group)
    if name := stored_run_name():  # torchrun has restarted us: the run keeps its own choices
        return resume(name, {}, args.run_root, group)
    if args.resume:
        group.check(with_fields(RunConfig(), given))
        return resume(args.name, given, args.run_root, group)
    config = with_fields(RunConfig(), _start(args, given))
    group.check(config)
    return train(args, config, given, group)


def _start(args: argparse.Namespace, given: dict) -> dict:
    """The given settings over those of the preset; another optimizer has its usual rate."""
    values = _preset(args, given)
    optimizer = values.get("optim.optimizer", RunConfig().optim.optimizer)
    if (chosen := given.get("optim.optimizer", optimizer)) != optimizer:
        sgd_only = () if chosen == "sgd" else ("optim.nesterov",)
        values = {path: value for path, value in values.items() if path not in sgd_only}
        values["optim.lr"] = usual_lr(chosen)
    return {**values, **given}


def _preset(args: argparse.Namespace, given: dict) -> dict:
    """Values of the preset; those of a fine-tuning with the network that its weights need."""
    values = PRESETS[args.preset].values if args.preset else {}
    if args.preset == FINE_TUNE:
        weights = {"pretrained": given.get("pretrained", values["pretrained"])}
        preset = with_fields(PRESETS[FINE_TUNE].config(), weights)
        model = initial.follow(preset, args.run_root).model
        values = {**values, **{f"model.{name}": value for name, value in vars(model).items()}}
    return values


def join_run(group: Group) -> int:
    """On every rank but 0: prepare and train the run that rank 0 creates; the exit code."""
    signals = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM"))
    for number in filter(None, signals):
        signal.signal(number, signal.SIG_IGN)  # rank 0 handles it and saves a checkpoint
    try:
        job = group.broadcast_object()
        if job is None:
            return 0  # nothing is left to train
        text, precision, folder = job
        config, run = RunConfig.from_json(text), Run(Path(folder))
        config = with_fields(config, {"precision": precision})  # the same on every GPU
        device = group.device(config.device)
        prepared = prepare(config, run.path.parent, run, device=device)
        session.join_training(run.path, prepared, group)
    except Ended:
        return 2
    except TrainingFailed:
        return FAILED  # rank 0 prints why
    except Exception as error:
        print(f"train.py: process {group.rank}: {session.explain(error)}", file=sys.stderr)
        return FAILED
    return 0


def train(args: argparse.Namespace, config: RunConfig, given: dict, group: Group) -> int:
    """Check everything, then make the run and train it."""
    name = runs.suggest_name(args.run_root, config) if args.name is None else args.name
    runs.check_free(args.run_root, name)
    early = [*advice.unused(config, given), *advice.warnings(config)]
    print_warnings(early)
    device = group.device(config.device)
    prepared = prepare(config, args.run_root, device=device, progress=DataBar())
    required = estimate.requirements(config.model, config.batch_size).bytes
    available = memory_bytes(prepared.compute.device)
    late = advice.warnings(config, len(prepared.splits.train_images), required, available)
    print_warnings([line for line in late if line not in early])
    run = runs.create(args.run_root, name, prepared.config)
    store_run_name(name)
    with run.hold("train.py") as writer:
        writer.begin((State.QUEUED,))
        return run_session(run, writer, prepared, group)


def resume(name: str | None, given: dict, root: Path, group: Group) -> int:
    """Go on with a run from its newest checkpoint, with the config it was made with."""
    if not name:
        raise ConfigError("name", "--resume needs the --name of a run")
    run = runs.open_run(root, name)
    config = run.config()
    # Images that were moved: `prepare` checks that they are the same.
    movable = {"data.dataset"} if has_checkpoint(run.path) and run.dataset_info() else set()
    movable |= {path for path, setting in SETTINGS.items() if setting.movable}
    for path, value in given.items():
        if path not in movable and value != get_field(config, path):
            kept = get_field(config, path)
            raise ConfigError(path, f"the run has {kept}, not {value}; a resumed run keeps its own")
    config = with_fields(config, {p: v for p, v in given.items() if p in movable})
    with run.hold("train.py") as writer:
        if writer.status.state is State.FINISHED:
            print(f"run {run.name!r} is finished; --pretrained {run.name} starts a new one from it")
            group.broadcast_object(None)
            return 0
        group.check(config)
        before = writer.status.compute.get("processes", group.world_size)
        if before != group.world_size:
            print(
                f"note: trained by {before} processes before, by {group.world_size} now: the same "
                "batches, and results that differ by rounding and in what batch norm averages over"
            )
        device = group.device(config.device)
        prepared = prepare(config, root, run, device=device, progress=DataBar())
        writer.begin((*RESUMABLE, State.QUEUED))
        return run_session(run, writer, prepared, group)


def run_session(run: Run, writer: RunWriter, prepared: Prepared, group: Group) -> int:
    """Train with a live display and print the result; the exit code."""
    group.broadcast_object((prepared.config.to_json(), prepared.compute.precision, str(run.path)))
    signals = Signals()
    display = Display(prepared.config.epochs)
    with contextlib.suppress(BrokenPipeError):  # see Display
        print_introduction(run, prepared)
    again = _resume_command(run, group)
    try:
        with signals:
            state = session.run_training(
                writer, prepared, ask=signals.ask, on_record=display, group=group
            )
    except KeyboardInterrupt:  # the second one
        print(f"train.py: {writer.status.message}; resume with: {again}", file=sys.stderr)
        return 130
    finally:
        display.close()
    status = writer.status  # on a full disk the run's own file may be older
    if state is State.FAILED:
        print(f"train.py: run {run.name!r} failed: {status.message}", file=sys.stderr)
        return FAILED
    if status.final_acc is not None:
        chosen = "; the best was selected on test data" if status.val_is_test else ""
        print(
            f"final {100 * status.final_acc:.2f} %, best {100 * status.best_acc:.2f} % "
            f"(epoch {status.best_epoch}) on {validated_on(prepared)}{chosen}"
        )
    if status.test_acc is not None:
        print(f"final {100 * status.test_acc:.2f} % on the test set")
    if status.tta_acc is not None:
        print(f"final {100 * status.tta_acc:.2f} % with test-time augmentation")
    if state is not State.FINISHED:
        print(f"{state} at step {status.step} of {status.steps}, saved; resume with: {again}")
    return 128 + signals.received if state is State.INTERRUPTED else 0


def _resume_command(run: Run, group: Group) -> str:
    processes = group.world_size
    start = ["torchrun", f"--nproc-per-node={processes}"] if processes > 1 else ["python"]
    return join_command([*start, *resume_words(run)])


def _with_flag(error: Exception) -> str:
    """The message, prefixed with the flag to change."""
    setting = SETTINGS.get(getattr(error, "field", ""))
    flag = setting and setting.flag
    return one_line(f"{flag}: {str(error).partition(': ')[2]}" if flag else str(error))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal can show × or any path
    in_group = "TORCHELASTIC_RUN_ID" in os.environ or os.environ.get("WORLD_SIZE", "1") != "1"
    try:
        try:
            code = main()
            sys.stdout.flush()
        except Exception as error:
            if isinstance(error, BrokenPipeError) or not in_group:
                raise
            traceback.print_exc()
            code = FAILED
        if in_group:
            # Threads of the process group may still be at work; ending the interpreter under them
            # aborts the process at times ("terminate called"), which torchrun takes for a failure.
            sys.stderr.flush()
            os._exit(code)
        sys.exit(code)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
