import subprocess
import sys
import threading

import pytest

from engine.data import progress
from engine.data.progress import Progress, Watch, format_duration, hold
from engine.errors import Cancelled


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test advances."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_at_most_ten_reports_a_second_but_the_first_and_the_last(clock):
    seen = []
    watch = Watch(seen.append)
    for done in range(1001):
        watch.tick("work", done, 1000, "images")
        clock.now += 0.001
    times = len(seen)
    assert seen[0].done == 0 and seen[-1].done == 1000
    assert 9 <= times <= 12


def test_the_rate_is_that_of_late(clock):
    seen = []
    watch = Watch(seen.append)
    done = 0
    for speed in (10, 1000):  # per tenth of a second
        for _ in range(100):
            watch.tick("work", done, None, "bytes")
            clock.now += 0.1001
            done += speed
    assert seen[0].rate is None
    assert seen[50].rate == pytest.approx(100, rel=0.01)
    assert seen[-1].rate == pytest.approx(10_000, rel=0.01)


def test_starting_over_or_a_new_message_forgets_the_old_rate(clock):
    seen = []
    watch = Watch(seen.append)
    for message, done in (("a", 0), ("a", 500), ("a", 10), ("b", 600)):
        watch.tick(message, done, None, "bytes")
        clock.now += 1
    assert [p.rate for p in seen] == [None, pytest.approx(500), None, None]


def test_cancelling_ends_ticks_sleeps_and_waits(tmp_path):
    watch = Watch(cancelled=lambda: True)
    with pytest.raises(Cancelled):
        watch.tick("work")
    with pytest.raises(Cancelled):
        watch.sleep(60)
    mine, second = (hold(tmp_path / "lock", each, "waiting") for each in (Watch(), watch))
    with mine, pytest.raises(Cancelled), second:
        pytest.fail("two hold one lock")


def test_a_lock_waits_for_another_process_and_says_so(tmp_path):
    holder = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"held"
        waited = threading.Event()

        def seen(report):
            assert report.message == "waiting for the other"
            assert process.poll() is None
            waited.set()
            process.stdin.close()  # which ends the holder

        with hold(tmp_path / "lock", Watch(seen), "waiting for the other"):
            assert waited.is_set()


@pytest.mark.parametrize(
    ("now", "line", "fraction"),
    [
        (Progress("connecting to x", 0, None, "", None), "connecting to x", 0),
        (
            Progress("listing a", 1200, None, "files", 300.4),
            "listing a: 1,200 files, 300 files/s",
            0,
        ),
        (
            Progress("importing a", 1200, 4800, "images", 40.0),
            "importing a: 1,200 of 4,800 images, 40 images/s, 1.5 min left",
            0.25,
        ),
        (
            Progress("downloading a", 17_000_000, 170_000_000, "bytes", 2_500_000.0),
            "downloading a: 17 of 170 MB, 2.5 MB/s, 61 s left",
            0.1,
        ),
        (Progress("drawing shapes", 0, 9, "images", None), "drawing shapes: 0 of 9 images", 0),
    ],
    ids=lambda value: getattr(value, "message", None),
)
def test_progress_is_one_line_and_a_fraction(now, line, fraction):
    assert now.describe() == line
    assert now.fraction == fraction


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90, "1.5 min"),
        (605, "10 min"),
        (7265, "2.0 h"),
        (200_000, "2.3 days"),
        (2_000_000, "23 days"),
    ],
)
def test_durations_are_in_the_largest_fitting_unit(seconds, text):
    assert format_duration(seconds) == text
