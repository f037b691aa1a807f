"""The training thread and its queue."""

import threading
from types import SimpleNamespace

import pytest

from engine import data, runs
from engine import worker as module
from engine.config import with_fields
from engine.errors import Cancelled, ConfigError, RunError
from engine.runs.queue import queued
from engine.runs.run import Run, State
from engine.training import session
from engine.worker import Worker

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


@pytest.fixture
def short_wait(monkeypatch):
    """Who holds a run is not waited for as long as a person would be made to wait."""
    monkeypatch.setattr("engine.runs.run.LOCK_WAIT_S", 0.2)


@pytest.fixture
def submit(worker, tmp_path, tiny):
    return lambda name, **changes: worker.submit(tiny(**changes), name, tmp_path)


@pytest.fixture
def ends(wait_for):
    """ends(run) is the state it comes to rest in."""

    def wait(run: Run) -> State:
        moving = (State.QUEUED, State.RUNNING)
        wait_for(lambda: run.status().state not in moving, f"{run.name} to end")
        return run.status().state

    return wait


@pytest.fixture
def order(monkeypatch) -> list[str]:
    """Names of runs, in the order in which they were trained."""
    names, train = [], session.train

    def note(writer, *args, **options):
        names.append(writer.run.name)
        return train(writer, *args, **options)

    monkeypatch.setattr(session, "train", note)
    return names


class Held:
    """The training of run "busy", stopped after its first step until it is let go."""

    def __init__(self, at_step):
        self.reached, self.released = threading.Event(), threading.Event()
        at_step("busy", 1, self.hold)

    def hold(self):
        self.reached.set()
        assert self.released.wait(100)


@pytest.fixture
def busy(submit, at_step):
    """A worker that trains the run "busy" until `released` is set."""
    held = Held(at_step)
    held.run = submit("busy")
    assert held.reached.wait(100)
    yield held
    held.released.set()


def test_two_runs_are_trained_one_after_another(submit, ends, order, worker):
    first, second = submit("first"), submit("second")
    assert ends(second) is State.FINISHED
    assert first.status().state is State.FINISHED
    assert order == ["first", "second"]
    assert first.status().updated <= second.status().updated
    assert worker.waiting() == []


def test_what_waits_and_what_is_trained_can_be_seen(busy, submit, worker):
    later = submit("later")
    assert worker.current.name == "busy"
    assert [run.name for run in worker.waiting()] == ["later"]
    assert later.status().state is State.QUEUED


def test_a_paused_run_goes_on_to_the_bit(
    worker, submit, ends, at_step, wait_for, checkpoint_of, same, lasting
):
    whole = submit("whole")
    at_step("cut", 2, lambda: worker.pause(cut))
    cut = Run(whole.path.with_name("cut"))
    submit("cut")
    assert ends(cut) is State.PAUSED
    assert cut.status().step == 2
    wait_for(lambda: worker.current is None, "the device to be free")
    assert not cut.is_alive()
    worker.resume(cut)
    assert ends(cut) is State.FINISHED
    assert same(checkpoint_of(cut.path), checkpoint_of(whole.path))
    assert lasting(cut.records()[0]) == lasting(whole.records()[0])


def test_while_one_is_paused_the_next_is_trained(worker, submit, ends, at_step, tmp_path):
    at_step("a", 1, lambda: worker.pause(Run(tmp_path / "a")))
    first, second = submit("a"), submit("b")
    assert ends(second) is State.FINISHED
    assert ends(first) is State.PAUSED


def test_a_stop_takes_effect_within_one_batch(worker, submit, ends, at_step, tmp_path):
    at_step("a", 4, lambda: worker.stop(Run(tmp_path / "a")))
    run = submit("a")
    assert ends(run) is State.STOPPED
    assert run.status().step == 4
    worker.resume(run)
    assert ends(run) is State.FINISHED


def test_a_paused_run_is_stopped_at_once(worker, submit, ends, at_step, tmp_path):
    at_step("a", 1, lambda: worker.pause(Run(tmp_path / "a")))
    run = submit("a")
    assert ends(run) is State.PAUSED
    worker.stop(run)
    assert run.status().state is State.STOPPED


def test_a_cancelled_run_is_never_trained(worker, busy, submit, ends, order):
    cancelled, later = submit("cancelled"), submit("later")
    worker.cancel(cancelled)
    assert cancelled.status().state is State.STOPPED
    assert [run.name for run in worker.waiting()] == ["later"]
    busy.released.set()
    assert ends(later) is State.FINISHED
    assert "cancelled" not in order


def test_a_waiting_run_is_moved_and_the_order_outlives_the_process(
    worker, busy, submit, ends, order, tmp_path
):
    made = [submit(name) for name in "abc"]
    worker.move(made[2], -1)
    worker.move(made[0], 9)
    worker.move(busy.run, 1)  # it has started: left alone
    assert [run.name for run in worker.waiting()] == ["c", "b", "a"]
    assert [run.name for run in queued(tmp_path)] == ["c", "b", "a"]
    busy.released.set()
    assert [ends(run) for run in made] == [State.FINISHED] * 3
    assert order[-3:] == ["c", "b", "a"]


def test_a_cancelled_run_that_is_queued_again_has_its_former_place(worker, busy, submit, tmp_path):
    waiting = lambda: [run.name for run in worker.waiting()]  # noqa: E731
    a, b, c = (submit(name) for name in "abc")
    for run in (a, b):
        worker.cancel(run)
    later = submit("later")
    worker.resume(b, "former")
    assert waiting() == ["b", "c", "later"]
    worker.move(c, -1)
    worker.cancel(later)
    worker.cancel(c)
    worker.resume(a, "former")
    worker.resume(later, "former")
    assert waiting() == ["a", "b", "later"]
    worker.resume(c, "former")
    assert waiting() == [run.name for run in queued(tmp_path)]
    assert waiting().index("c") < waiting().index("b")


def test_commands_that_come_too_early_or_too_late_are_refused(
    worker, busy, submit, ends, short_wait, wait_for
):
    waiting = submit("waiting")
    with pytest.raises(RunError, match="'busy' is in use by the app"):
        worker.cancel(busy.run)
    for command in (worker.pause, worker.stop):
        with pytest.raises(RunError, match="'waiting' is queued; only a running one can"):
            command(waiting)
    with pytest.raises(RunError, match="'waiting' is queued; only unfinished runs"):
        worker.resume(waiting)
    busy.released.set()
    assert ends(waiting) is State.FINISHED
    wait_for(lambda: not waiting.is_alive(), "the worker to let it go")
    with pytest.raises(RunError, match="'waiting' is finished; only unfinished runs"):
        worker.resume(waiting)
    with pytest.raises(RunError, match="'waiting' is finished, not queued"):
        worker.cancel(waiting)


def test_a_resumed_run_goes_ahead_of_those_that_wait(worker, busy, submit, ends, order, make_run):
    waiting, left = submit("waiting"), make_run("left")
    with left.hold("an earlier process") as writer:
        writer.update(state=State.RUNNING)  # and then died
    assert left.status().state is State.INTERRUPTED
    worker.resume(left)
    assert [run.name for run in queued(left.path.parent)] == ["left", "waiting"], "also later"
    busy.released.set()
    assert ends(waiting) is State.FINISHED
    assert order == ["left", "waiting"]


def test_the_queue_of_an_earlier_process_is_taken_up_in_its_order(
    worker, make_run, ends, order, tmp_path
):
    made = [make_run(name) for name in ("c", "a", "b")]
    stopped = make_run("stopped")
    with stopped.hold("test") as writer:
        writer.update(state=State.STOPPED)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    assert order == []
    assert [run.name for run in worker.continue_queue(tmp_path)] == ["c", "a", "b"]
    assert worker.continue_queue(tmp_path) == []
    assert ends(made[-1]) is State.FINISHED
    assert order == ["c", "a", "b"]


def in_another_thread(function, **options) -> None:
    thread = threading.Thread(target=function, kwargs=options)
    thread.start()
    thread.join()


def test_closing_leaves_an_interrupted_run_that_a_new_worker_finishes(
    submit, worker, at_step, tmp_path, ends, checkpoint_of, same, lasting
):
    whole = submit("whole")
    assert ends(whole) is State.FINISHED
    at_step("cut", 4, lambda: in_another_thread(worker.close, wait=0))
    run, later = submit("cut"), submit("later")
    assert ends(run) is State.INTERRUPTED
    assert run.status().step == 4
    assert worker.close()
    assert not run.is_alive()
    assert later.status().state is State.QUEUED
    again = Worker("cpu")
    try:
        again.resume(run)
        assert ends(run) is State.FINISHED
    finally:
        again.close()
    assert same(checkpoint_of(run.path), checkpoint_of(whole.path))
    assert lasting(run.records()[0]) == lasting(whole.records()[0])


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("stop", "stopped")])
def test_a_request_during_the_preparation_is_heard(
    worker, submit, ends, tmp_path, monkeypatch, command, state
):
    load = data.load

    def slow(*args, cancelled=None, progress=None, **options):
        progress(data.Progress("downloading", 1_000_000, 3_000_000, "bytes", 2e6))
        assert Run(tmp_path / "a").status().phase == "downloading: 1 of 3 MB, 2.0 MB/s, 1 s left"
        assert not cancelled()
        getattr(worker, command)(Run(tmp_path / "a"))
        assert cancelled()
        raise Cancelled("cancelled")

    monkeypatch.setattr(data, "load", slow)
    run = submit("a")
    assert ends(run) == state
    assert run.status().phase == ""
    monkeypatch.setattr(data, "load", load)
    worker.resume(run)
    assert ends(run) is State.FINISHED


@pytest.mark.parametrize(
    ("changes", "name", "kind"),
    [
        ({"model.width": 1e-6}, "a", ConfigError),
        ({"device": "cuda:9"}, "a", ConfigError),
        ({}, "pretrained", ConfigError),
        ({}, "../a", ConfigError),
    ],
    ids=str,
)
def test_a_submission_that_cannot_work_makes_no_run(submit, tmp_path, changes, name, kind):
    with pytest.raises(kind):
        submit(name, **changes)
    assert list(tmp_path.iterdir()) == []


def test_the_same_submission_twice_is_one_run_and_another_of_its_name_is_refused(
    busy, submit, worker
):
    assert submit("b").path == submit("b").path
    assert [run.name for run in worker.waiting()] == ["b"]
    assert submit("busy").path == busy.run.path
    with pytest.raises(RunError, match="'b' already exists"):
        submit("b", epochs=3)


def test_a_run_deleted_while_it_waits_is_passed_over_and_does_not_come_back(busy, submit, ends):
    gone, later = submit("gone"), submit("later")
    runs.delete(gone)
    busy.released.set()
    assert ends(later) is State.FINISHED
    assert not gone.path.exists()


def test_a_run_taken_by_another_process_is_left_to_it(
    worker, busy, submit, ends, order, short_wait
):
    taken, later = submit("taken"), submit("later")
    with taken.hold("train.py") as writer:
        writer.begin((State.QUEUED,))
        with pytest.raises(RunError, match=r"in use by train\.py"):
            worker.resume(taken)
        writer.update(state=State.FINISHED)
    busy.released.set()
    assert ends(later) is State.FINISHED
    assert "taken" not in order
    assert taken.status().state is State.FINISHED


def test_a_config_that_no_longer_works_fails_and_the_queue_goes_on(worker, busy, submit, ends):
    spoiled, later = submit("spoiled"), submit("later")
    (spoiled.path / "config.json").write_text('{"epochs": 0}')
    busy.released.set()
    assert ends(later) is State.FINISHED
    assert spoiled.status().state is State.FAILED
    assert spoiled.status().message.startswith("epochs: 0 is out of range")


def test_several_devices_train_at_once_and_each_run_goes_where_it_asked(
    tmp_path, tiny, monkeypatch, wait_for
):
    """Two GPUs, played by the CPU."""
    used, threads, both = {}, {}, threading.Barrier(2, timeout=60)
    train, prepare = session.train, module.prepare

    def note_device(config, root, run, *, device=None, **options):
        used[run.name] = device or config.device
        threads[run.name] = threading.current_thread().name
        return prepare(with_fields(config, {"device": "cpu"}), root, run, **options)

    def meet(writer, *args, **options):
        if writer.run.name in ("a", "b"):
            both.wait()  # passes only if the other one is being trained at the same time
        return train(writer, *args, **options)

    monkeypatch.setattr(module, "prepare", note_device)
    monkeypatch.setattr(session, "train", meet)
    monkeypatch.setattr(module, "resolve", lambda name, *_: SimpleNamespace(device=name))
    worker = Worker("cuda:0", "cuda:1")
    devices = {"a": "auto", "b": "auto", "c": "cuda:1", "d": "cuda:1", "e": "cuda:0"}
    devices |= {"f": "cpu", "g": "cpu"}  # beside GPUs one thread's, never two at once
    made = [worker.submit(tiny(device=device), name, tmp_path) for name, device in devices.items()]
    try:
        wait_for(lambda: all(r.status().state is State.FINISHED for r in made), "all to finish")
        assert {used["a"], used["b"]} == {"cuda:0", "cuda:1"}
        assert [used[name] for name in "cde"] == ["cuda:1", "cuda:1", "cuda:0"]
        assert [threads[name] for name in "efg"] == ["training-cuda:0"] * 3
        wait_for(lambda: worker.current is None, "the devices to be free")
    finally:
        worker.close()


def test_own_images_that_are_gone_are_refused_at_once(worker, submit, tmp_path, tiny):
    images = tmp_path / "pets"
    with pytest.raises(ConfigError, match=r"^data.dataset: no data set .*pets"):
        submit("a", **{"data.dataset": str(images)})
    assert not (tmp_path / "a").exists()
    images.mkdir()
    config = tiny(**{"data.dataset": str(images)})
    run = runs.create(tmp_path, "b", config)
    with run.hold("a test") as writer:
        writer.update(state=State.INTERRUPTED)
    images.rmdir()
    with pytest.raises(RunError, match="no data set"):
        worker.resume(run)
    (run.path / "resume" / "3").mkdir(parents=True)
    with pytest.raises(RunError, match="back there, then resume it"):
        worker.resume(run)
    assert run.status().state is State.INTERRUPTED and not worker.waiting()
