"""Loading on background threads: started once, with progress, cancellation and retries."""

import threading

import pytest

from engine.data import background
from engine.data.progress import Progress
from engine.errors import Cancelled, DataError

JOIN_S = 60


class Loads:
    """Replaces data.load: each call waits for `go`, then ends with `outcome`."""

    def __init__(self):
        self.calls: list[dict] = []
        self.threads: list[threading.Thread] = []
        self.called, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.outcome: BaseException | None = None

    def __call__(self, dataset, root, *, url, fit, progress, cancelled):
        self.calls.append({"dataset": dataset, "root": root, "url": url, "cancelled": cancelled})
        self.threads.append(threading.current_thread())
        progress(Progress("downloading", len(self.calls), 10, "bytes", 1.0))
        self.called.release()
        assert self.go.acquire(timeout=JOIN_S)
        if cancelled():
            raise Cancelled("cancelled")
        if self.outcome:
            raise self.outcome


@pytest.fixture
def loads(monkeypatch):
    loads = Loads()
    monkeypatch.setattr(background.data, "load", loads)
    yield loads
    for _ in range(20):
        loads.go.release()
    for thread in loads.threads:
        thread.join(JOIN_S)
        assert not thread.is_alive()


def begin(loads, tmp_path, name="cifar10") -> background.Fetch:
    fetch = background.start(name, tmp_path)
    assert loads.called.acquire(timeout=JOIN_S)
    return fetch


def end(loads, fetch) -> None:
    loads.go.release()
    fetch.join(JOIN_S)
    assert not fetch.running


def test_it_runs_beside_its_caller_and_tells_how_far_it_is(loads, tmp_path):
    assert background.current("cifar10", tmp_path) is None
    fetch = background.start("cifar10", tmp_path, "http://mirror/x")
    assert loads.called.acquire(timeout=JOIN_S)
    assert fetch.running
    assert fetch.progress == Progress("downloading", 1, 10, "bytes", 1.0)
    assert loads.threads[0] is not threading.current_thread()
    assert loads.threads[0].daemon, "a download must not keep a process from ending"
    call = loads.calls[0]
    assert (call["dataset"], call["root"], call["url"]) == ("cifar10", tmp_path, "http://mirror/x")
    end(loads, fetch)
    assert fetch.error == ""
    assert background.current("cifar10", tmp_path) is fetch


def test_asked_for_from_many_places_at_once_it_is_fetched_once(loads, tmp_path):
    barrier, found = threading.Barrier(12), []

    def ask():
        barrier.wait()
        found.append(background.start("cifar10", tmp_path))

    askers = [threading.Thread(target=ask) for _ in range(12)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(found) == 12
    assert len(set(map(id, found))) == 1
    assert loads.called.acquire(timeout=JOIN_S)
    end(loads, found[0])
    assert len(loads.calls) == 1


def test_other_data_sets_and_other_folders_are_fetched_beside_it(loads, tmp_path):
    first = begin(loads, tmp_path)
    second = begin(loads, tmp_path, "cifar100")
    third = begin(loads, tmp_path / "elsewhere")
    assert first.running and second.running and third.running
    assert len({first, second, third}) == 3
    assert background.current("cifar100", tmp_path) is second
    assert background.current("cifar100", str(tmp_path)) is second


def test_cancelled_it_ends_and_says_what_is_kept(loads, tmp_path):
    fetch = begin(loads, tmp_path)
    assert loads.calls[0]["cancelled"]() is False
    fetch.cancel()
    assert loads.calls[0]["cancelled"]() is True
    assert background.start("cifar10", tmp_path) is fetch, "it has not ended yet"
    end(loads, fetch)
    assert fetch.error == "Cancelled; what was downloaded is kept for the next try."


@pytest.mark.parametrize(
    "error",
    [DataError("no route to the server; use the built-in data"), OSError("disk full")],
)
def test_an_error_is_kept_as_one_line(loads, tmp_path, error):
    loads.outcome = error
    fetch = begin(loads, tmp_path)
    end(loads, fetch)
    assert fetch.error == str(error)


def test_another_try_starts_anew_and_is_not_cancelled(loads, tmp_path):
    loads.outcome = DataError("out of reach")
    first = begin(loads, tmp_path)
    first.cancel()
    end(loads, first)
    loads.outcome = None
    second = begin(loads, tmp_path)
    assert second is not first
    assert second.error == ""
    assert loads.calls[1]["cancelled"]() is False
    end(loads, second)
    assert second.error == ""
    assert background.current("cifar10", tmp_path) is second
    assert len(loads.calls) == 2
