"""Row 15 of docs/FAULTS.md: a CIFAR archive that is cut, wrong or out of reach."""

import dataclasses
import hashlib
import io
import os
import pickle
import random
import re
import socket
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from engine.data import cifar, download, is_available, load
from engine.data.progress import Watch
from engine.errors import Cancelled, DataError

PROJECT = Path(__file__).parents[2]


def md5(content):
    return hashlib.md5(content).hexdigest()


def make_archive(spec):
    """A tiny archive of the real one's shape, and the spec that fits it."""
    noise = random.Random(0).randbytes
    batch = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, protocol=2)
    files = dict.fromkeys([*spec.train, *spec.test], batch)
    files["batches.meta"] = pickle.dumps({"label_names": ["a", "b"]}, protocol=2)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in [*files.items(), ("filler", noise(300_000))]:
            info = tarfile.TarInfo(f"{spec.folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    sums = {
        part: {name: md5(files[name]) for name in getattr(spec, part)}
        for part in ("train", "test", "meta")
    }
    content = archive.getvalue()
    return content, dataclasses.replace(spec, md5=md5(content), **sums)


class Server:
    """Answers each request as the next step of `plan` says, the last one again and again.

    Steps: "whole" (with Range), "no range", "wrong" (bytes), "shifted" (another range than
    asked), a number (the body is cut after so many bytes), or a status such as "503".
    """

    def __init__(self, body):
        self.body, self.plan, self.asked = body, ["whole"], []
        self.reached, self.gate = threading.Event(), threading.Event()
        self.gate.set()  # cleared by a test, it holds answers back after their first half
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/cifar.tar.gz"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, handler):
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        step = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        handler.close_connection = True
        if isinstance(step, str) and step.isdigit():
            handler.send_error(int(step))
            return
        body = self.body if step != "wrong" else bytes(len(self.body))
        start = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted and step != "no range" else 0
        if start >= len(body):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            said = start - 1 if step == "shifted" else start
            handler.send_header("Content-Range", f"bytes {said}-{len(body) - 1}/{len(body)}")
        # As Apache labels it: a client must not unpack the archive on the way.
        handler.send_header("Content-Encoding", "x-gzip")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        end = start + step if isinstance(step, int) else len(body)
        middle = (start + end) // 2
        handler.wfile.write(body[start:middle])
        self.reached.set()
        self.gate.wait(20)
        handler.wfile.write(body[middle:end])


@pytest.fixture
def server(monkeypatch):
    body, spec = make_archive(cifar.CIFAR10)
    server = Server(body)
    monkeypatch.setattr(cifar, "CIFAR10", dataclasses.replace(spec, url=server.url))
    monkeypatch.setattr(download, "BACKOFF_SECONDS", (0, 0, 0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.http.shutdown()
    server.http.server_close()


def part(root):
    return root / "cifar-10-python.tar.gz.part"


def check(root, server):
    assert not part(root).exists()
    assert (root / "cifar-10-python.tar.gz").read_bytes() == server.body
    assert is_available("cifar10", root)


def test_downloaded_once_with_progress(server, tmp_path):
    seen = []
    data = load("cifar10", tmp_path / "root", progress=seen.append)
    assert data.classes == ("a", "b") and len(data.train_labels) == 10
    check(tmp_path / "root", server)
    last = [p for p in seen if p.message.startswith("downloading")][-1]
    assert last.done == last.total == len(server.body) and last.unit == "bytes"
    load("cifar10", tmp_path / "root")
    assert server.asked == [None]


def test_a_cut_body_is_resumed_where_it_ended(server, tmp_path):
    server.plan = [100_000, 50_000, "whole"]
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_that_cannot_resume_starts_over(server, tmp_path):
    server.plan = [100_000, "no range"]
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert server.asked == [None, "bytes=100000-"]


def test_a_server_that_resumes_at_the_wrong_place_is_not_believed(server, tmp_path):
    server.plan = [100_000, "shifted", "whole"]
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert server.asked == [None, "bytes=100000-", None]


def test_a_part_of_an_earlier_session_is_used(server, tmp_path):
    part(tmp_path).write_bytes(server.body[:200_000])
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert server.asked == ["bytes=200000-"]


@pytest.mark.parametrize("extra", [b"", b"xyz"])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, extra):
    part(tmp_path).write_bytes(server.body + extra)
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert server.asked[1:] == ([None] if extra else [])


def test_a_damaged_part_is_thrown_away(server, tmp_path):
    part(tmp_path).write_bytes(bytes(200_000))
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert server.asked == ["bytes=200000-", None]


def test_a_damaged_archive_is_replaced(server, tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(server.body[:-5])
    assert not is_available("cifar10", tmp_path)
    load("cifar10", tmp_path)
    check(tmp_path, server)


def test_busy_servers_are_asked_again(server, tmp_path):
    server.plan = ["503", "429", "whole"]
    load("cifar10", tmp_path)
    check(tmp_path, server)


def hinted(error, root):
    message = str(error.value)
    assert f"Put cifar-10-python.tar.gz under {root}" in message
    assert "--dataset shapes" in message and "\n" not in message


def test_a_wrong_md5_is_thrown_away_retried_once_and_reported(server, tmp_path):
    server.plan = ["wrong"]
    with pytest.raises(DataError, match="MD5") as error:
        load("cifar10", tmp_path)
    hinted(error, tmp_path)
    assert server.asked == [None, None]
    assert not list(tmp_path.glob("*.gz*[!k]")) and not is_available("cifar10", tmp_path)


def test_a_wrong_md5_once_is_made_good(server, tmp_path):
    server.plan = ["wrong", "whole"]
    load("cifar10", tmp_path)
    check(tmp_path, server)


def test_a_server_that_always_cuts_is_given_up_and_the_part_kept(server, tmp_path):
    server.plan = [1000]
    with pytest.raises(DataError, match="ended") as error:
        load("cifar10", tmp_path)
    hinted(error, tmp_path)
    assert len(server.asked) == 4 and part(tmp_path).stat().st_size == 4000


def test_slow_progress_is_not_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS_BYTES", 20_000)
    server.plan = [20_000]
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert len(server.asked) > 10


def test_not_found_is_reported_at_once(server, tmp_path):
    server.plan = ["404"]
    with pytest.raises(DataError, match="404") as error:
        load("cifar10", tmp_path)
    hinted(error, tmp_path)
    assert len(server.asked) == 1


def test_an_endless_body_is_ended(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    with pytest.raises(DataError, match="more than"):
        load("cifar10", tmp_path)
    assert not part(tmp_path).exists()


def test_offline_gives_the_two_ways_on(server, tmp_path):
    with socket.socket() as unused:  # bound, not listening: every connection is refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        assert not is_available("cifar10", tmp_path)
        with pytest.raises(DataError, match="no connection") as error:
            load("cifar10", tmp_path, url=url)
    hinted(error, tmp_path)


def test_a_damaged_archive_offline_is_said_to_be_damaged_and_left_alone(server, tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"half")
    server.plan = ["404"]
    with pytest.raises(DataError, match="damaged") as error:
        load("cifar10", tmp_path)
    hinted(error, tmp_path)
    assert archive.read_bytes() == b"half"


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://"]
)
def test_an_address_that_is_none(server, tmp_path, url):
    with pytest.raises(DataError) as error:
        cifar.load(dataclasses.replace(cifar.CIFAR10, url=url), tmp_path, None, Watch())
    hinted(error, tmp_path)
    assert server.asked == []


def test_a_mirror_is_asked_in_place_of_the_home(server, tmp_path, monkeypatch):
    home = dataclasses.replace(cifar.CIFAR10, url="http://127.0.0.1:9/never")
    monkeypatch.setattr(cifar, "CIFAR10", home)
    load("cifar10", tmp_path, url=server.url)
    check(tmp_path, server)


def test_cancelled_in_mid_download_keeps_the_part_for_a_resume(server, tmp_path):
    chunks = []

    def cancelled():
        return part(tmp_path).exists() and (chunks.append(1) or len(chunks) > 4)

    with pytest.raises(Cancelled):
        load("cifar10", tmp_path, cancelled=cancelled)
    have = part(tmp_path).stat().st_size
    assert 0 < have < len(server.body)
    assert part(tmp_path).read_bytes() == server.body[:have]
    load("cifar10", tmp_path)
    check(tmp_path, server)
    assert server.asked == [None, f"bytes={have}-"]


def test_cancelled_between_two_tries(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "BACKOFF_SECONDS", (600,))
    server.plan = ["503"]
    seen = []
    with pytest.raises(Cancelled):
        load(
            "cifar10",
            tmp_path,
            progress=seen.append,
            cancelled=lambda: any("next try" in p.message for p in seen),
        )


LOAD = """
import dataclasses, sys
from pathlib import Path
from engine.data import cifar, load
md5, url, root, train, test, meta = sys.argv[1:7]
sums = [dict(pair.split("=") for pair in text.split(",")) for text in (train, test, meta)]
cifar.CIFAR10 = dataclasses.replace(
    cifar.CIFAR10, md5=md5, url=url, train=sums[0], test=sums[1], meta=sums[2]
)
assert len(load("cifar10", Path(root)).train_labels) == 10
"""


def test_two_processes_do_not_download_over_each_other(server, tmp_path):
    """The other process is held in mid-download until this one says that it waits."""
    spec = cifar.CIFAR10
    parts = (spec.train, spec.test, spec.meta)
    sums = [",".join(f"{name}={md5}" for name, md5 in part.items()) for part in parts]
    command = [sys.executable, "-c", LOAD, spec.md5, spec.url, str(tmp_path), *sums]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    server.gate.clear()
    with subprocess.Popen(command, cwd=PROJECT, env=environment) as other:
        assert server.reached.wait(60)

        def seen(report):
            if report.message == "waiting for another download":
                server.gate.set()

        load("cifar10", tmp_path, progress=seen)
        assert server.gate.is_set()
        assert other.wait(60) == 0
    assert server.asked == [None]
    check(tmp_path, server)
