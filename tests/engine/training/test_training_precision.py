"""Reduced precision: close to fp32, channels last, and fp16's loss scaling."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.training.records import EpochRecord, StepRecord
from engine.training.step import train_step

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


@pytest.fixture
def train(make_trainer, tiny):
    def run(precision: str, **changes):
        trainer = make_trainer(config=tiny(precision=precision, **{"optim.lr": 0.01} | changes))
        return trainer, list(trainer.fit())

    return run


def step(trainer, indices) -> None:
    train_step(trainer.setup, trainer.network, trainer.state, indices)


def losses(records) -> list[float]:
    return [record.loss for record in records if isinstance(record, StepRecord)]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_losses_stay_close_to_those_of_fp32(train, precision):
    _, reduced = train(precision)
    _, full = train("fp32")
    assert losses(reduced) == pytest.approx(losses(full), rel=0.03)
    assert losses(reduced) != losses(full), "not computed in another precision"
    assert [r.lr for r in reduced if isinstance(r, EpochRecord)] == [
        r.lr for r in full if isinstance(r, EpochRecord)
    ]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_stay_fp32_and_channels_last_and_images_come_likewise(train, precision):
    formats = []

    def note(conv, inputs, output):
        formats.append((inputs[0].is_contiguous(memory_format=torch.channels_last), output.dtype))

    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda m, i, o: note(m, i, o) if isinstance(m, torch.nn.Conv2d) else None
    )
    try:
        trainer, _ = train(precision)
    finally:
        handle.remove()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert set(formats) == {(True, dtype)}
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    kernel = trainer.model.get_parameter("stages.0.0.body.0.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_fp16_skips_a_step_whose_gradients_overflow_and_lowers_its_scale(make_trainer, tiny):
    trainer = make_trainer(config=tiny(precision="fp16"))
    trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = trainer.model.get_parameter("head.2.weight").detach().clone()
    generator = trainer.fit()
    first = next(record for record in generator if isinstance(record, StepRecord))
    assert math.isfinite(first.loss)
    assert torch.equal(trainer.model.get_parameter("head.2.weight"), before)
    assert trainer.state.scaler.get_scale() == 2.0**39
    generator.close()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_first_step_that_overflows_leaves_no_trace(make_trainer, tiny, optimizer):
    config = tiny(precision="fp16", **{"optim.optimizer": optimizer, "optim.lr": 0.01})
    overflowed, fresh = make_trainer(config=config), make_trainer(config=config)
    # What a kernel leaves unwritten is what the memory held: not necessarily a 0.
    held = [torch.full_like(p, 1e9) for p in overflowed.model.parameters()]
    del held
    overflowed.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    statistics = {k: b.clone() for k, b in overflowed.model.named_buffers()}
    step(overflowed, torch.arange(16))
    for name, buffer in overflowed.model.named_buffers():  # batch norm's, which saw the images
        buffer.copy_(statistics[name])
    for trainer in (overflowed, fresh):
        trainer.state.position.step = 1
        trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        step(trainer, torch.arange(16, 32))
    for mine, other in zip(overflowed.model.parameters(), fresh.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_the_scale_of_the_loss_does_not_scale_the_step(make_trainer, tiny, optimizer):
    config = tiny(precision="fp16", **{"optim.optimizer": optimizer, "optim.lr": 0.01})
    weights = []
    for scale in (1.0, 64.0):
        trainer = make_trainer(config=config)
        trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        start = [p.detach().clone() for p in trainer.model.parameters()]
        step(trainer, torch.arange(16))
        moved = zip(trainer.model.parameters(), start, strict=True)
        weights.append(torch.cat([(now.detach() - then).flatten() for now, then in moved]))
    apart = (weights[0] - weights[1]).norm() / weights[0].norm()
    assert apart < 0.1, "fp16 rounds small gradients, and no more"


def test_the_scale_is_part_of_a_checkpoint(make_trainer, tiny, tmp_path):
    config = tiny(precision="fp16")
    trainer = make_trainer(tmp_path, config)
    trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    list(trainer.fit())
    again = make_trainer(tmp_path, config)
    next(again.fit())
    assert again.state.scaler.get_scale() == 8.0


class Asked(TorchDispatchMode):
    """Counts how often a tensor's value is asked for, which on a GPU waits for all of its work."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_a_step_asks_for_no_value(make_trainer, tiny, optimizer, precision):
    config = tiny(precision=precision, **{"optim.optimizer": optimizer, "optim.lr": 0.01})
    trainer = make_trainer(config=config)
    with Asked() as asked:
        for _ in range(2):
            step(trainer, torch.arange(16))
    assert not asked.count
