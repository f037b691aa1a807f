"""Terminal output and signal handling of train.py."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time

from tqdm import tqdm

from engine import data
from engine.data.progress import format_duration
from engine.runs.run import Run
from engine.runs.validation import seen_clause
from engine.training.prepare import Prepared
from engine.training.records import EpochRecord, Note, ProgressRecord, Record, Started

PLAIN_EVERY_S = 30.0  # between progress lines when the output is not a terminal


class Signals:
    """Context in which Ctrl-C or SIGTERM ends the run at the next step, a second Ctrl-C at once.

    A second SIGTERM is ignored: supervisors send it to the process and to its launcher, which
    forwards it.
    """

    def __init__(self):
        self.received = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ask(self) -> str | None:
        return "interrupt" if self.received else None

    def _handle(self, number: int, frame: object) -> None:
        if self.received:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.received = number
        # RuntimeError: the signal interrupted a write to the same stream.
        with contextlib.suppress(OSError, RuntimeError):
            tqdm.write(
                "finishing this batch and saving; Ctrl-C again ends at once", file=sys.stderr
            )


class Display:
    """Training progress: a bar in a terminal, plain lines elsewhere, and one line per epoch."""

    def __init__(self, epochs: int):
        self.epochs = epochs
        self.bar: tqdm | None = None
        self.next_line = time.monotonic() + PLAIN_EVERY_S

    def __call__(self, record: Record) -> None:
        with contextlib.suppress(BrokenPipeError):  # the reader has closed the pipe; go on training
            self._show(record)

    def _show(self, record: Record) -> None:
        if isinstance(record, Started) and sys.stderr.isatty():
            self.bar = tqdm(
                total=record.steps,
                initial=record.step,
                unit="step",
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}",
            )
        elif isinstance(record, ProgressRecord):
            self._progress(record)
        elif isinstance(record, Note):
            tqdm.write(f"note: {record.text}")
        elif isinstance(record, EpochRecord):
            tqdm.write(
                f"epoch {record.epoch}/{self.epochs}  train loss {record.train_loss:.4f} "
                f"acc {record.train_acc:.4f}  val loss {record.val_loss:.4f} "
                f"acc {record.val_acc:.4f}  lr {record.lr:.4g}  {record.seconds:.1f} s"
            )
            sys.stdout.flush()

    def _progress(self, now: ProgressRecord) -> None:
        if now.phase == "compiling":
            tqdm.write("compiling the network")
            sys.stdout.flush()
            return
        left = format_duration(now.eta_seconds) if now.eta_seconds is not None else "?"
        left = left if now.eta_settled else f"about {left}"
        text = f"loss {now.loss:.3f} acc {now.acc:.3f} {now.images_per_s:.0f} images/s, {left} left"
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {now.epoch}/{self.epochs} {now.phase}")
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.n = now.step
            self.bar.refresh()
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + PLAIN_EVERY_S
            print(f"epoch {now.epoch}/{self.epochs} step {now.step} {text}", flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class DataBar:
    """Progress of a download or import: one updated line in a terminal, few lines elsewhere."""

    def __init__(self):
        self.next_line = time.monotonic() + 1  # no output for less than a second

    def __call__(self, now: data.Progress) -> None:
        ended = now.total is not None and now.done >= now.total
        if time.monotonic() < self.next_line and not ended:
            return
        live = sys.stderr.isatty()
        self.next_line = time.monotonic() + (0.2 if live else PLAIN_EVERY_S)
        text = now.describe()
        if live:
            columns = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:columns]:<{columns}}", end="\n" if ended else "", file=sys.stderr)
        elif not ended:
            print(text, file=sys.stderr, flush=True)


def print_introduction(run: Run, prepared: Prepared) -> None:
    config, compute = prepared.config, prepared.compute
    print(
        f"run {run.name!r}: {config.model.arch}, {prepared.parameters:,} parameters, "
        f"{prepared.info.name} ({len(prepared.splits.train_images):,} training images), "
        f"{compute.device} in {compute.precision}; files in {run.path}"
    )
    if config.data.dataset not in data.DATASETS:  # how folders were read as splits and classes
        print(*prepared.info.describe_splits(), sep="\n")
    print_import_notes(prepared.info)
    for note in prepared.notes:
        print(f"note: {note}")
    print(f"validation: {validated_on(prepared)}", flush=True)


def print_import_notes(images: data.ImageData) -> None:
    """Print the notes and warnings of a data set's import, such as skipped images."""
    for line in images.notes:
        print(f"note: {line}")
    for line in images.warnings:
        print(f"warning: {line}", file=sys.stderr)


def validated_on(prepared: Prepared) -> str:
    count = len(prepared.splits.val_images)
    kind = "the test set" if prepared.splits.val_is_test else "held-out training images"
    return f"{kind}{seen_clause(prepared.splits.val_seen)} ({count:,} images)"


def print_warnings(lines: list[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
