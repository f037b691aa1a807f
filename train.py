"""Train a network from the terminal: the same engine as the browser's, without the browser."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path

from engine import advice, data, runs
from engine.config import SETTINGS, RunConfig, join_command, with_fields
from engine.device import resolve
from engine.errors import (
    Cancelled,
    CheckpointError,
    ConfigError,
    DataError,
    RunError,
    TrainingFailed,
)
from engine.evaluate import TestTimeAugmentation
from engine.models import ARCHITECTURES
from engine.models.summary import count_parameters
from engine.predict import load_network, measure
from engine.presets import PRESETS
from engine.recipe import usual_lr
from engine.runs.checkpoint import has_checkpoint
from engine.runs.run import RESUMABLE, Run, RunWriter, State
from engine.runs.validation import seen_clause
from engine.settings import Setting, get_field
from engine.training import session
from engine.training.group import (
    Ended,
    Group,
    destroy_process_group,
    init_process_group,
    store_run_name,
    stored_run_name,
)
from engine.training.prepare import Prepared, prepare
from terminal import DataBar, Display, Signals

FAILED = 1  # exit code

EPILOG = "Each switch has its opposite (--no-tta, --crop …), to change what a preset chose."


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line instead of usage and message."""
        self.exit(2, f"train.py: {_one_line(message)}; --help lists the flags\n")


def make_parser() -> Parser:
    parser = Parser(description=__doc__, allow_abbrev=False, epilog=EPILOG)
    parser.add_argument("--name", help="the run's name; default: made from the choices")
    for setting in SETTINGS.values():
        if setting.flag:
            _add_flag(parser, setting)
    parser.add_argument(
        "--preset", choices=PRESETS, help="choices to start from; other flags change them"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run --name")
    parser.add_argument("--run-root", type=Path, default=Path("checkpoints"), help="folder of runs")
    parser.add_argument("--list", action="store_true", help="print the architectures and end")
    parser.add_argument("--evaluate", metavar="RUN", help="print a run's accuracy and end")
    return parser


def _add_flag(parser: Parser, setting: Setting) -> None:
    """The flag of a setting; a switch gets its opposite as well, for what a preset turns on."""
    options = {"dest": setting.path, "default": argparse.SUPPRESS, "help": _help(setting)}
    if setting.kind is bool:
        options |= {"action": "store_const", "const": not setting.default}
        opposite = {**options, "const": setting.default, "help": argparse.SUPPRESS}
        parser.add_argument(opposite_of(setting), **opposite)
    elif setting.kind is tuple:
        options |= {"action": "append", "type": int, "metavar": "EPOCH"}
    else:
        options |= {"type": setting.kind, "metavar": setting.key.upper()}
    parser.add_argument(*setting.aliases, setting.flag, **options)


def opposite_of(setting: Setting) -> str:
    """--no-crop for --crop and the reverse."""
    if setting.default:
        return setting.flag.replace("--no-", "--", 1)
    return setting.flag.replace("--", "--no-", 1)


def _help(setting: Setting) -> str:
    if setting.kind is bool:
        return f"no {setting.help}" if setting.default else setting.help
    choices = f": {', '.join(setting.choices)}" if setting.choices else ""
    default = setting.none if setting.default is None else setting.default
    return f"{setting.help}{choices} (default: {default or 'none'})".replace("%", "%%")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code. 0: done, 1: the training failed, 2: bad arguments."""
    args = make_parser().parse_args(arguments)
    given = {path: value for path, value in vars(args).items() if path in SETTINGS}
    given = {path: tuple(v) if isinstance(v, list) else v for path, v in given.items()}
    if "schedule.milestones" in given:
        given.setdefault("schedule.kind", "multi_step")
    start = _start(args).optim
    if "optim.optimizer" in given and start.lr == usual_lr(start.optimizer):
        given.setdefault("optim.lr", usual_lr(given["optim.optimizer"]))
    group, code = init_process_group(), FAILED
    try:
        code = _command(args, given, group)
    except (ConfigError, DataError, RunError, CheckpointError) as error:
        if group.is_main:
            print(f"train.py: {_with_flag(error)}", file=sys.stderr)
        group.release()
        code = 2
    except (Cancelled, KeyboardInterrupt):
        print("train.py: ended before training began; nothing was made", file=sys.stderr)
        group.release()
        code = 130
    finally:
        if code in (0, 2):  # after a failure or Ctrl-C others may be in the middle of a step
            destroy_process_group()
    return code


def _command(args: argparse.Namespace, given: dict, group: Group) -> int:
    """What the arguments ask for; the exit code."""
    if args.list:
        return list_architectures()
    if args.evaluate is not None:
        return evaluate_run(args, given)
    if args.preset and args.resume:
        raise ConfigError("preset", "is for a new run; a resumed run keeps its own choices")
    if not group.is_main:
        return join_run(group)
    if name := stored_run_name():  # torchrun has restarted us: the run keeps its own choices
        return resume(name, {}, args.run_root, group)
    group.check(with_fields(_start(args), given))
    if args.resume:
        return resume(args.name, given, args.run_root, group)
    return train(args, given, group)


def _start(args: argparse.Namespace) -> RunConfig:
    return PRESETS[args.preset].config() if args.preset else RunConfig()


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


def train(args: argparse.Namespace, given: dict, group: Group) -> int:
    """Check everything, then make the run and train it."""
    config = with_fields(_start(args), given)
    name = runs.suggest_name(args.run_root, config) if args.name is None else args.name
    runs.check_free(args.run_root, name)
    early = [*advice.unused(config, given), *advice.warnings(config)]
    _warn(early)
    device = group.device(config.device)
    prepared = prepare(config, args.run_root, device=device, progress=DataBar())
    late = advice.warnings(config, len(prepared.splits.train_images))
    _warn([line for line in late if line not in early])
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
        _introduce(run, prepared)
    again = _resume_command(run, group)
    try:
        with signals:
            state = session.run_training(
                writer, prepared, ask=signals.ask, on_record=display, group=group
            )
    except KeyboardInterrupt:  # the second one
        print(f"train.py: {writer.status.message}; go on with: {again}", file=sys.stderr)
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
            f"(epoch {status.best_epoch}) on {_validated_on(prepared)}{chosen}"
        )
    if status.tta_acc is not None:
        print(f"final {100 * status.tta_acc:.2f} % with test-time augmentation")
    if state is not State.FINISHED:
        print(f"{state} at step {status.step} of {status.steps}, saved; go on with: {again}")
    return 128 + signals.received if state is State.INTERRUPTED else 0


def _resume_command(run: Run, group: Group) -> str:
    processes = group.world_size
    start = ["torchrun", f"--nproc-per-node={processes}"] if processes > 1 else ["python"]
    words = [*start, "train.py", "--name", run.name, "--resume"]
    if run.path.parent != Path("checkpoints"):
        words += ["--run-root", str(run.path.parent)]
    return join_command(words)


def list_architectures() -> int:
    for name, architecture in ARCHITECTURES.items():
        print(f"{name:18} {count_parameters(name):>12,}  {architecture.description}")
    return 0


EVALUATED = {"device", "precision", "tta", "data.dataset", "data.root", "data.url"}


def _check_evaluation(args: argparse.Namespace, given: dict) -> None:
    """Raises ConfigError for what has no effect on an evaluation."""
    others = {"name": args.name, "preset": args.preset, "resume": args.resume}
    names = [name for name, value in others.items() if value]
    names += [path for path in given if path not in EVALUATED]
    if names:
        raise ConfigError(names[0], "has no effect with --evaluate; leave it out")


def evaluate_run(args: argparse.Namespace, given: dict) -> int:
    """Print a checkpoint's accuracy on the test images of its own or another data set."""
    candidates = (args.run_root / args.evaluate, Path(args.evaluate))
    path = next((p for p in candidates if args.evaluate and _exists(p)), None)
    if path is None:
        raise RunError(f"there is no run or weights file {args.evaluate!r} in {args.run_root}")
    _check_evaluation(args, given)
    checked = with_fields(RunConfig(), given)
    compute = resolve(checked.device, checked.precision)
    network = load_network(path, compute)
    others = {path: value for path, value in given.items() if path.startswith("data.")}
    choice = with_fields(network.config, others).data
    images = data.load(
        choice.dataset, Path(choice.root), fit=choice.fit, url=choice.url, progress=DataBar()
    )
    if images.classes != network.classes:
        raise CheckpointError(
            f"{args.evaluate} knows {', '.join(network.classes)[:200]}; "
            f"{images.name} has other classes: {', '.join(images.classes)[:200]}"
        )
    _tell_import(images)
    tta = TestTimeAugmentation.like_training(network.config.augment) if checked.tta else None
    tally = measure(network, images.test_images, images.test_labels, compute, tta=tta)
    how = f", with test-time augmentation ({_views(tta)})" if tta else ""
    own = choice.dataset == network.config.data.dataset and network.config.data.holdout == 0
    if own and network.weights.stem == "best":
        how += " (which selected these weights)"
    print(f"{network.weights} on the test images of {images.name}{how}: loss {tally.loss:.4f}")
    print(f"accuracy {100 * tally.acc:.2f} % ({tally.correct}/{tally.count})")
    return 0


def _views(tta: TestTimeAugmentation) -> str:
    return (
        f"{tta.count} views" if tta.count > 1 else "1 view: the run trained without flip and crop"
    )


def _introduce(run: Run, prepared: Prepared) -> None:
    config, compute = prepared.config, prepared.compute
    print(
        f"run {run.name!r}: {config.model.arch}, {prepared.parameters:,} parameters, "
        f"{prepared.info.name} ({len(prepared.splits.train_images):,} training images), "
        f"{compute.device} in {compute.precision}; files in {run.path}"
    )
    if config.data.dataset not in data.DATASETS:  # how folders were read as splits and classes
        print(*prepared.info.describe_splits(), sep="\n")
        _tell_import(prepared.info)
    for note in prepared.notes:
        print(f"note: {note}")
    print(f"validation: {_validated_on(prepared)}", flush=True)


def _tell_import(images: data.ImageData) -> None:
    """What an import of a person's own images found; nothing for the others."""
    for line in images.notes:
        print(f"note: {line}")
    for line in images.warnings:
        print(f"warning: {line}", file=sys.stderr)


def _validated_on(prepared: Prepared) -> str:
    count = len(prepared.splits.val_images)
    kind = "the test set" if prepared.splits.val_is_test else "held-out training images"
    return f"{kind}{seen_clause(prepared.splits.val_seen)} ({count:,} images)"


def _warn(lines: list[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def _with_flag(error: Exception) -> str:
    """The message with the flag in front that a person has to change."""
    setting = SETTINGS.get(getattr(error, "field", ""))
    flag = setting and setting.flag
    return _one_line(f"{flag}: {str(error).partition(': ')[2]}" if flag else str(error))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a path
        return False


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
