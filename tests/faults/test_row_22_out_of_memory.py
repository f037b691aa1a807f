"""Row 22 of docs/FAULTS.md: out of memory."""

import sys

import pytest
import torch

from engine.runs.run import Run, State
from engine.training import session

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

ADVICE = "out of memory: try a smaller batch size or width, or precision bf16"
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ..."),
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4194304 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:24])
def test_row_22_every_way_of_telling_it_gives_the_same_advice(error):
    assert session.explain(error) == ADVICE


@pytest.mark.parametrize("error", ERRORS[:3], ids=lambda error: str(error)[:24])
def test_row_22_the_run_fails_with_advice_and_the_next_one_is_trained(
    worker, tiny, tmp_path, at_step, wait_for, error
):
    def fail():
        raise error

    at_step("large", 4, fail)
    large = worker.submit(tiny(), "large", tmp_path)
    small = worker.submit(tiny(), "small", tmp_path)
    wait_for(lambda: small.status().state is State.FINISHED, "the next run")
    assert large.status().state is State.FAILED
    assert large.status().message == ADVICE
    assert type(error).__name__ in large.log()
    assert not large.is_alive()
    worker.resume(large)
    wait_for(lambda: large.status().state is State.FINISHED, "the run to go on")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS holds on Linux only")
def test_row_22_a_real_shortage_fails_the_run_and_leaves_the_next_one_room(
    python, tiny, tmp_path, wait_for
):
    code = """
import resource, time
from pathlib import Path
from engine.config import RunConfig
from engine.runs.run import State
from engine.worker import get_worker
worker = get_worker("cpu")
warm = worker.submit(RunConfig.from_json(SMALL), "warm", Path(ROOT))
while warm.status().state is not State.FINISHED:
    time.sleep(0.01)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000, resource.RLIM_INFINITY))
runs = [worker.submit(RunConfig.from_json(LARGE), "large", Path(ROOT))]
runs.append(worker.submit(RunConfig.from_json(SMALL), "small", Path(ROOT)))
while any(run.status().state in (State.QUEUED, State.RUNNING) for run in runs):
    time.sleep(0.01)
worker.close()
"""
    large = tiny(**{"model.width": 1, "data.limit": 400, "batch_size": 400})
    child = python(code, ROOT=str(tmp_path), SMALL=tiny().to_json(), LARGE=large.to_json())
    assert child.wait() == 0, child.text
    status = Run(tmp_path / "large").status()
    assert (status.state, status.message) == (State.FAILED, ADVICE)
    assert Run(tmp_path / "small").status().state is State.FINISHED
