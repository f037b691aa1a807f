"""--compile: the same training, and one line instead of it where nothing can be compiled."""

import dataclasses
import functools

import pytest
import torch

from engine.device import Compute
from engine.models import build_model
from engine.runs.run import State
from engine.training import compilation
from engine.training.records import ProgressRecord

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")
CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture
def no_code(monkeypatch):
    """Everything that torch.compile does up to the compiler of C++, which takes half a minute."""
    made, compiled = [], functools.partial(torch.compile, backend="aot_eager")

    def traced(model, **options):
        made.append(compiled(model, **options))
        return made[-1]

    monkeypatch.setattr(compilation.torch, "compile", traced)
    yield made
    torch.compiler.reset()


def refuse(message):
    def fail(*args, **options):
        raise RuntimeError(message)

    return fail


def test_the_trial_leaves_the_network_as_it_was(no_code):
    model = build_model("resnet10", width=0.0625).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    compiled, problem = compilation.attempt(model, [(4, 32)], CPU)
    assert problem == ""
    assert compiled is no_code[0]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_compiled_run_learns_the_same(make_run, tiny, train_run, no_code, checkpoint_of):
    phases = []
    runs = {}
    for name, chosen in (("plain", False), ("compiled", True)):
        runs[name] = make_run(name, tiny(compile=chosen, **{"optim.lr": 0.01}))
        record = phases.append if chosen else lambda r: None
        assert train_run(runs[name], on_record=record) is State.FINISHED
    assert next(r.phase for r in phases if isinstance(r, ProgressRecord)) == "compiling"
    assert len(no_code) == 1
    (ours, _), (theirs, _) = (checkpoint_of(run.path) for run in runs.values())
    for key, value in ours.items():
        assert torch.allclose(value.float(), theirs[key].float(), atol=1e-4), key


def test_without_a_compiler_it_trains_and_says_so_in_one_line(
    make_run, tiny, train_run, monkeypatch, checkpoint_of, same
):
    message = "No working C++ compiler\nfound\n"
    monkeypatch.setattr(compilation.torch, "compile", refuse(message))
    run, plain, seen = make_run("a", tiny(compile=True)), make_run("b"), []
    assert train_run(run, on_record=seen.append) is State.FINISHED
    line = "torch.compile failed, training continues without it: No working C++ compiler found"
    assert [r.text for r in seen if hasattr(r, "text")] == [line]
    assert line in run.log()
    assert run.status().message == ""
    assert train_run(plain) is State.FINISHED
    assert same(checkpoint_of(run.path), checkpoint_of(plain.path))


def test_a_failure_while_it_compiles_is_no_failure_of_the_run(monkeypatch):
    """torch.compile itself does nothing yet: the compiler is first called with the first batch."""
    model = build_model("resnet10", width=0.0625).train()
    monkeypatch.setattr(compilation.torch, "compile", lambda model, **options: refuse("x" * 999))
    kept, problem = compilation.attempt(model, [(4, 32)], CPU)
    assert kept is model
    assert problem == "torch.compile failed, training continues without it: " + "x" * 200


def test_every_shape_of_the_run_is_compiled_for_itself_beforehand(
    make_trainer, noise, tiny, monkeypatch
):
    """So that no step meets a compiler, and a resumed run has the same code for each."""
    asked = []
    monkeypatch.setattr(
        compilation, "attempt", lambda model, shapes, compute: asked.append(shapes) or (model, "")
    )
    splits = dataclasses.replace(
        noise, train_images=noise.train_images[:40], train_labels=noise.train_labels[:40]
    )
    for choices in ({}, {"progressive": True}):
        list(make_trainer(splits=splits, config=tiny(compile=True, **choices)).fit())
    assert asked[0] == [(8, 32), (16, 32)]
    assert asked[1] == [(images, size) for images in (8, 16) for size in (20, 26, 32)]


def test_a_resumed_run_computes_with_the_same_code(no_code):
    """One graph for each shape, none for whatever size: the order they come in plays no part."""
    model = build_model("resnet10", width=0.0625).train()
    compiled, _ = compilation.attempt(model, [(3, 32), (4, 32)], CPU)
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for images in (4, 4, 3, 4):
        inputs = torch.zeros(images, 3, 32, 32)
        compiled(inputs.contiguous(memory_format=CPU.memory_format))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted > 0
