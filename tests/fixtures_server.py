"""A real server on folders of its own.

A plugin (see conftest.py in the root), because the browser's tests and the faults' both use it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from engine import estimate
from engine.device import resolve

REPOSITORY = Path(__file__).resolve().parents[1]


class Server:
    """`streamlit run app.py` on a free port of this machine, on folders of its own."""

    def __init__(self, runs: Path, data: Path, log: Path):
        self.runs, self.data, self.log = runs, data, log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        environment = os.environ | {
            "PLAYGROUND_RUN_ROOT": str(self.runs),
            "PLAYGROUND_STUDY_ROOT": str(self.runs.with_name("studies")),
            "PLAYGROUND_DATA_ROOT": str(self.data),
            "OMP_NUM_THREADS": "1",  # the browser needs the other core
            # A closed port: no test may reach the network, nor wait for an answer from it.
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
            "no_proxy": "localhost,127.0.0.1",
        }
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        command += ["--server.headless", "true", "--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log
            )
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    pytest.fail(f"the server does not answer: {self.log.read_text()[-2000:]}")
                time.sleep(0.1)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        message = "no chromium on this machine: install Debian's package chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory, shapes_root):
    """One server for the tests of a file; its log must hold no traceback at the end."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "runs", shapes_root, folder / "log")
    yield server
    server.stop()
    assert "Traceback" not in server.log.read_text(), server.log.read_text()[-3000:]


@pytest.fixture
def known_speed(server, one_thread):
    """The server knows a high speed of this machine: nothing to measure, and no run asks first."""
    for precision in ("auto", "fp32"):
        path, compute = server.runs / ".throughput.json", resolve("auto", precision)
        estimate.store_speed(path, compute, estimate.Speed(1e-15, 0.0, 0.0))
