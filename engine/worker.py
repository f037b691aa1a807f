"""Background training: a queue of runs, and one daemon thread per training device."""

from __future__ import annotations

import atexit
import contextlib
import functools
import sys
import threading
import time
import types
from pathlib import Path

from engine import allocator, runs
from engine.config import RunConfig
from engine.device import all_of, resolve
from engine.errors import Cancelled, ConfigError, DataError, RunError
from engine.models.summary import count_parameters
from engine.runs import queue
from engine.runs.run import HELD, RESUMABLE, Run, State
from engine.training import initial, session
from engine.training.prepare import can_resume, check_place, prepare
from engine.turns import Session, Suspended, Turn

# A module without a source file: cleared caches, reloads and file watchers do not replace it, so a
# process has one worker per kind of device.
REGISTRY = "_cifar10_playground_workers"
EXIT_WAIT_S = 20.0  # a batch and a checkpoint of a large network on a slow CPU


def get_worker(device: str = "auto") -> Worker:
    """The process's worker for a kind of device (all GPUs, or the CPU), created at first use."""
    registry = sys.modules.setdefault(REGISTRY, _new_registry())
    chosen = resolve(device).device
    with registry.lock:
        worker = registry.workers.get(chosen.type)
        if worker is None:
            worker = registry.workers[chosen.type] = Worker(*all_of(chosen))
            atexit.register(worker.close)
        return worker


def _new_registry() -> types.ModuleType:
    registry = types.ModuleType(REGISTRY)
    registry.lock, registry.workers = threading.Lock(), {}
    return registry


class Worker:
    """Trains queued runs in daemon threads, one per device. Get it from get_worker.

    Each device trains one run at a time. A run whose config says "auto" goes to the first device
    that is free.

    A crash loses nothing: the queue is stored as the runs whose state is queued. Pages read the
    runs' files and call only `submit` and the commands below.
    """

    def __init__(self, *devices: str):
        self.devices = devices
        self._queue: list[Path] = []  # run folders, in order
        self._changed = threading.Condition()
        self._submitting = threading.Lock()
        self._current: dict[str, Run] = {}  # by device
        self._races: dict[Path, str] = {}  # of queued runs
        self._suspended = {device: Suspended() for device in devices}
        self._requeued: set[Path] = set()  # runs that must free their memory between turns
        self._closing = False
        self._threads = [
            allocator.start_thread(functools.partial(self._work, device), f"training-{device}")
            for device in devices
        ]

    @property
    def current(self) -> Run | None:
        """The run that is being prepared or trained, on the first device that is busy."""
        running = dict(self._current)
        return next((running[device] for device in self.devices if device in running), None)

    @property
    def idle(self) -> bool:
        """Whether a run submitted now, for any device, would start at once."""
        with self._changed:
            free = [device for device in self.devices if device not in self._current]
            return any(self._next(device) is None for device in free)

    def waiting(self) -> list[Run]:
        """Queued runs of this worker, in order."""
        with self._changed:
            return [Run(path) for path in self._queue]

    def submit(
        self, config: RunConfig, name: str, root: Path, *, study: str = "", race: str = ""
    ) -> Run:
        """Create a run and queue it. Raises RunError if the name is taken, or ConfigError.

        A folder or zip of the user must exist.

        study: name of the study that it belongs to. race: queued runs of the same race take turns.

        The architecture of initial weights is checked now, their classes once the data is loaded.

        Submitting the same again (a double click, a form open in two tabs) returns the same run.
        """
        count_parameters(**config.model.arguments)
        resolve(config.device, config.precision)
        try:
            check_place(config)
        except DataError as error:
            raise ConfigError("data.dataset", str(error)) from error
        if config.pretrained:
            initial.check(config, Path(root))
        with self._submitting:
            try:
                run = runs.create(Path(root), name, config, study=study, race=race)
            except RunError:
                if queue.is_live_with(Run(Path(root) / name), config):
                    return Run(Path(root) / name)
                raise
            self._enqueue(run)
        return run

    def resume(self, run: Run, place: str = "first") -> None:
        """Queue a paused, stopped, failed or interrupted run, or one whose status.json is damaged.

        place: in the queue, "first", "last", or "former": the one that a cancelled run had. Raises
        RunError or ConfigError.
        """
        try:
            check_place(run.config(), run if can_resume(run) else None)
        except DataError as error:
            raise RunError(str(error)) from error
        with run.hold("the app") as writer:
            state = writer.status.state
            if state not in (*RESUMABLE, *HELD):  # live without a writer: interrupted
                raise RunError(f"run {run.name!r} is {state}; only unfinished runs can be resumed")
            writer.discard_request()
            when, index = queue.place(place, writer.status.queued, self.waiting())
            writer.update(state=State.QUEUED, queued=when, message="")
        self._enqueue(run, index)

    def pause(self, run: Run) -> None:
        """Save a checkpoint and free the device, within one batch."""
        self._request(run, "pause")

    def stop(self, run: Run) -> None:
        """End a run within one batch, in whichever process it trains; a paused one at once."""
        if run.status().state is State.PAUSED:
            self._end_waiting(run, State.PAUSED)
        else:
            self._request(run, "stop")

    def cancel(self, run: Run, state: State = State.STOPPED) -> None:
        """Remove a run from the queue. Raises RunError if it has started already."""
        self._end_waiting(run, State.QUEUED, state)
        with self._changed:
            self._queue = [path for path in self._queue if path != run.path]

    def move(self, run: Run, places: int) -> None:
        """Move a queued run by so many places: to the front (negative) or to the back.

        Not a run that has started meanwhile. The order is kept for a later process as well.
        """
        with self._changed:
            if run.path not in self._queue:
                return
            index = self._queue.index(run.path)
            self._queue.insert(max(0, index + places), self._queue.pop(index))
            order = list(self._queue)
        queue.store_order(order)

    def _request(self, run: Run, command: str) -> None:
        state = run.status().state
        if state not in HELD:
            raise RunError(f"run {run.name!r} is {state}; only a running one can {command}")
        run.request(command)

    def _end_waiting(self, run: Run, expected: State, state: State = State.STOPPED) -> None:
        with run.hold("the app") as writer:
            if writer.status.state is not expected:
                raise RunError(f"run {run.name!r} is {writer.status.state}, not {expected}")
            writer.update(state=state)

    def continue_queue(self, root: Path, study: str = "") -> list[Run]:
        """Queue the runs under `root`, or of a study, that an earlier process left queued."""
        left = queue.queued(Path(root), study)
        with self._changed:  # after the list was read, as runs start meanwhile
            started = [run.path for run in self._current.values()]
            return [run for run in left if run.path not in started and self._enqueue(run)]

    def close(self, wait: float = EXIT_WAIT_S) -> bool:
        """Interrupt running runs, with a checkpoint, and end the threads.

        wait: seconds to wait for the threads. Returns whether all of them have ended.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        end = time.monotonic() + wait
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _enqueue(self, run: Run, index: int = sys.maxsize) -> bool:
        with contextlib.suppress(RunError):  # deleted: the thread will report it
            self._races[run.path] = run.status().race
        with self._changed:
            # The current run may be queued: it is resumed before the thread has left it.
            if run.path in self._queue:
                return False
            self._queue.insert(index, run.path)
            self._changed.notify_all()
            return True

    def _work(self, device: str) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._next(device) is not None)
                if self._closing:
                    break
                run = self._current[device] = Run(self._queue.pop(self._next(device)))
            try:
                self._train(run, device)
            except BaseException as error:
                # Even SystemExit from a model must not end the thread: others wait in the queue.
                self._mark_failed(run, error)
            finally:
                with self._changed:
                    del self._current[device]
        self._end_requested(device)

    def _next(self, device: str) -> int | None:
        """Index in the queue of the first run that may be trained on `device`."""
        for index, path in enumerate(self._queue):
            owner = next((d for d, held in self._suspended.items() if path in held), None)
            if (owner or device) != device:
                continue
            if owner or len(self.devices) == 1 or self._device_of(path) in ("auto", device):
                return index
        return None

    def _train(self, run: Run, device: str) -> None:
        """Train a run until its session ends or, in a race, its turn."""
        suspended, turn = self._suspended[device], Turn()
        records = suspended.take(run.path) or self._session(run, device)
        for record in records:
            self._end_requested(device)
            if turn.is_over(record) and self._is_in_race(run):
                if suspended.has_room(run.path):
                    if suspended.add(run.path, records):
                        self._enqueue_in_race(run)
                    return
                self._requeued.add(run.path)  # it ends at its next record, with a checkpoint
        if run.path in self._requeued:
            self._requeued.discard(run.path)
            if run.status().state is State.QUEUED:
                self._enqueue_in_race(run)

    def _is_in_race(self, run: Run) -> bool:
        """Whether another run of the same race is in the queue."""
        with self._changed:
            race = self._races.get(run.path)
            return bool(race) and any(self._races.get(path) == race for path in self._queue)

    def _enqueue_in_race(self, run: Run) -> None:
        """Queue a run behind the others of its race, but before any other run between them."""
        with self._changed:
            race = self._races[run.path]
            members = [self._races.get(path) == race for path in self._queue]
            place = members.index(True) if True in members else 0
            while place < len(members) and members[place]:
                place += 1
            self._queue.insert(place, run.path)
            self._changed.notify_all()

    def _end_requested(self, device: str) -> None:
        """End suspended sessions that are asked to pause, stop or be interrupted."""
        suspended = self._suspended[device]
        for path in suspended.paths():
            if self._asked(Run(path)):
                with self._changed:
                    self._queue.remove(path)
                for _ in suspended.take(path):  # ends without another step
                    pass

    def _device_of(self, path: Path) -> str:
        """The device whose thread trains a run, or "auto" for any."""
        try:
            asked = Run(path).config().device
            chosen = asked if asked == "auto" else str(resolve(asked).device)
        except (RunError, ConfigError):
            return "auto"  # any thread will report the error
        # Another device (the CPU beside GPUs) gets one thread too, so that no two runs share it.
        return chosen if chosen in ("auto", *self.devices) else self.devices[0]

    def _session(self, run: Run, device: str) -> Session:
        """Prepare and train a queued run until its session ends; yields its records."""
        with run.hold("the app") as writer:
            if writer.status.state is not State.QUEUED:
                return  # cancelled, or started by another process, since it was queued
            writer.begin((State.QUEUED,))
            try:
                config = run.config()
                prepared = prepare(
                    config,
                    run.path.parent,
                    run,
                    device=device if config.device == "auto" else None,
                    progress=lambda now: writer.update(phase=now.describe()),
                    cancelled=lambda: self._asked(run) is not None,
                )
            except Cancelled:
                ending = self._asked(run) or "stop"
                writer.update(state=session.ENDINGS[ending], phase="")
            except BaseException as error:
                session.fail(writer, error)
            else:
                self._suspended[device].declare(run.path, prepared)
                yield from session.train(writer, prepared, ask=lambda: self._asked(run))

    def _asked(self, run: Run) -> str | None:
        if self._closing:
            return "interrupt"
        return run.requested() or ("requeue" if run.path in self._requeued else None)

    def _mark_failed(self, run: Run, error: BaseException) -> None:
        with contextlib.suppress(Exception), run.hold("the app") as writer:
            session.fail(writer, error)
