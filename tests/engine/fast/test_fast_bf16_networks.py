"""Whole networks with the bf16 layers: names, answers, gradients, trainings, torch.compile."""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.device import Compute
from engine.fast import accelerate
from engine.fast.fusion.dense import FusedDenseBlock
from engine.fast.fusion.layers import FusedSequential
from engine.models import build_model, whitening
from engine.training import loop
from tests.engine.fast.comparison import BF16, FASTER_BF16, distance, faster_layers

pytestmark = pytest.mark.usefixtures("one_thread", "amx")
TOLERANCE = 0.02  # ‖difference‖ / ‖expected‖ of a tensor; bf16 rounds by up to 2^-9


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {"model.arch": "convmixer256d8", "model.width": 0.03125},
        {"model.arch": "resnext10", "model.width": 0.5},
        {"model.arch": "resnet10", "model.width": 0.5},
        {"model.arch": "speedrun", "model.width": 0.5},
        {"model.arch": "densenet121", "model.width": 0.125},
    ],
    ids=lambda choices: choices["model.arch"],
)
def test_an_interrupted_training_resumes_bit_identically(
    choices, make_trainer, tiny, tmp_path, same, monkeypatch, chosen
):
    monkeypatch.setattr(loop, "READ_EVERY_S", 0.0)
    config = tiny(precision="bf16", **choices, **{"optim.lr": 0.01})
    ended = []
    for name, cuts in (("whole", 0), ("cut", 1)):
        (tmp_path / name).mkdir()
        for _ in range(cuts):
            records = make_trainer(tmp_path / name, config).fit()
            for _ in range(6):
                next(records)
            records.close()
        trainer = make_trainer(tmp_path / name, config)
        list(trainer.fit())
        ended.append(trainer.model.state_dict())
    assert same(*ended)
    is_dense = choices["model.arch"] == "densenet121"
    assert chosen or is_dense  # which has no filters that are slow without AMX
    if find_spec("numba"):
        kind = FusedDenseBlock if is_dense else FusedSequential
        assert any(isinstance(m, kind) for m in trainer.model.modules())


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["convmixer256d8", "resnext10", "resnet10"])
def test_it_can_be_compiled(arch, chosen):
    """The graph that torch.compile traces gives the same gradients; C++ is not compiled."""
    width = 0.03125 if arch == "convmixer256d8" else 0.5
    model = faster_layers(build_model(arch, width=width).train())
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    slopes = []
    for network in (model, torch.compile(model, backend="aot_eager")):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(images).float(), torch.arange(4))
        slopes.append(torch.autograd.grad(loss, list(model.parameters())))
    torch.compiler.reset()
    assert chosen
    for found, expected in zip(slopes[1], slopes[0], strict=True):
        assert distance(found, expected) < TOLERANCE


@pytest.mark.parametrize(
    ("arch", "activation", "norm"),
    [
        ("resnet18", None, None),
        ("resnext18", "elu", "group"),
        ("vgg16", "celu", "instance"),
        ("densenet121", None, "layer"),
        ("convmixer256d8", None, None),
        ("speedrun", None, None),
    ],
)
def test_whole_networks_keep_their_names_and_answers(arch, activation, norm):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 32, 32, generator=draw)
    plain = build_model(arch, activation=activation, norm=norm)
    if layer := whitening.find(plain):
        layer.fit(images)
    names = list(plain.state_dict())
    faster = faster_layers(copy.deepcopy(plain).to(memory_format=torch.channels_last))
    assert list(faster.state_dict()) == names
    # Norms over few images would show rounding in their statistics, not in the layers.
    plain.eval(), faster.eval()
    expected = plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        result = faster(images.contiguous(memory_format=torch.channels_last))
    assert distance(result.float(), expected) < 5 * TOLERANCE
    slopes = []
    for network, logits in ((plain, expected), (faster, result)):
        (head,) = [m for m in network.modules() if isinstance(m, nn.Linear)]
        loss = F.cross_entropy(logits.float(), torch.arange(4))
        slopes += torch.autograd.grad(loss, head.weight)
    assert distance(slopes[1], slopes[0]) < 5 * TOLERANCE


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_gradients_through_a_whole_network_are_no_worse_than_bf16_makes_them(norm):
    """Every parameter's gradient in training is as near to fp32 as with PyTorch's bf16 layers."""
    draw = torch.Generator().manual_seed(1)
    images, labels = torch.randn(32, 3, 32, 32, generator=draw), torch.arange(32) % 10
    # smooth, so rounding moves no value across a kink
    plain = build_model("resnet10", activation="celu", norm=norm, width=0.5)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    faster = faster_layers(copy.deepcopy(last))
    assert {type(m) for m in faster.modules()} & FASTER_BF16
    slopes = []
    for network, enabled in ((plain, False), (last, True), (faster, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = F.cross_entropy(network(images).float(), labels)
        slopes.append(torch.autograd.grad(loss, list(network.parameters())))
    for exact, usual, found in zip(*slopes, strict=True):
        assert distance(found, exact) < max(TOLERANCE, 1.5 * distance(usual, exact))


def test_activations_are_in_place_where_that_is_faster(amx):
    model = faster_layers(build_model("resnet10", width=0.25))
    x = torch.randn(1, 3, 4, 4)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            assert (module(x) is x) == (not amx)


@pytest.mark.parametrize("compute", [Compute(torch.device("cpu"), "fp32"), BF16])
def test_elsewhere_nothing_is_changed(compute, cpu):
    """Neither for a CPU without bf16 instructions nor for one without the kernels in fp32."""
    cpu(amx=False, avx512_bf16=False, kernels=False)
    for activation in ("elu", "relu"):
        model = build_model("resnet10", activation=activation, norm="group", width=0.25)
        before = [type(m) for m in model.modules()]
        accelerate(model, compute, training=True)
        assert [type(m) for m in model.modules()] == before


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet10", "densenet121"])
def test_the_loss_falls_as_it_does_in_fp32(arch, make_trainer, tiny):
    """The same training in both precisions: losses agree within bf16 rounding noise."""
    losses = []
    for precision in ("fp32", "bf16"):
        choices = {"model.arch": arch, "model.width": 0.25, "optim.lr": 0.02}
        config = tiny(precision=precision, epochs=4, **choices)
        epochs = [r for r in make_trainer(None, config).fit() if hasattr(r, "train_loss")]
        losses.append([epoch.train_loss for epoch in epochs])
    assert losses[0] == pytest.approx(losses[1], rel=0.03)
    assert losses[0][-1] < losses[0][0]
