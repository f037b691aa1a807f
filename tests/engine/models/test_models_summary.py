"""Costs against numbers derived by hand, PyTorch's FLOP counter and a real forward pass."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engine.models import ARCHITECTURES, NORMS, build_model, build_on_meta
from engine.models.summary import LayerRow, count_parameters, summarize

# the first, which is the smallest, of each
ONE_OF_EACH_FAMILY = {a.family: name for name, a in reversed(ARCHITECTURES.items())}.values()


def saved_bytes(model, batch_size):
    """Bytes that autograd has saved after a forward pass, without parameters and buffers."""
    owned = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    storages = []  # kept alive, so that no address is reused

    def keep(tensor):
        storages.append(tensor.untyped_storage())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model(torch.zeros(batch_size, 3, 32, 32))
    sizes = {s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in owned}
    return sum(sizes.values())


def test_a_small_network_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),  # 8×4×4, 3·9 each: 3456
        nn.ReLU(),
        nn.Conv2d(8, 6, 1, groups=2),  # 6×4×4, 4·1 each: 384
        nn.Flatten(),
        nn.Linear(96, 5),  # 480
    )
    summary = summarize(model, batch_size=2, image_size=8)
    assert summary.layers == (
        LayerRow("0", "Conv2d", (8, 4, 4), 216, 3456),
        LayerRow("1", "ReLU", (8, 4, 4), 0, 0),
        LayerRow("2", "Conv2d", (6, 4, 4), 6 * 4 + 6, 384),
        LayerRow("3", "Flatten", (96,), 0, 0),
        LayerRow("4", "Linear", (5,), 96 * 5 + 5, 480),
    )
    assert summary.macs == 3456 + 384 + 480
    assert summary.parameters == 216 + 30 + 485
    # the input of each convolution and of the linear layer; the ReLU's result is one of them
    assert summary.activation_bytes == 2 * 4 * (3 * 64 + 8 * 16 + 96)


def test_resnet18_by_hand():
    """Multiply-accumulates for 32×32 pixels.

    stem        27·64·1024                                        1,769,472
    stage 1     4 · 64·64·9·1024                                150,994,944
    stages 2-4  each: 64·128·9·256 + 3 · 128·128·9·256 + 64·128·256 (the projection), as
                half the width and height cancel twice the inputs and outputs: 3 · 134,217,728
    head        512·10                                                5,120
    """
    summary = summarize(build_model("resnet18"))
    assert summary.macs == 1_769_472 + 150_994_944 + 3 * 134_217_728 + 5_120
    assert summary.parameters == 11_173_962


@pytest.mark.parametrize("arch", [*ONE_OF_EACH_FAMILY, "resnet50", "resnext50"])
def test_macs_agree_with_the_counter_of_pytorch(arch):
    model = build_on_meta(arch)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    summary = summarize(model, batch_size=2)
    assert summary.macs * 2 == counter.get_total_flops()
    assert sum(row.parameters for row in summary.layers) == summary.parameters


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("arch", "activation"),
    [("resnet10", "mish"), ("resnext10", "relu"), ("vgg11", "celu"), ("convmixer256d8", "gelu")],
)
def test_memory_is_what_a_real_forward_pass_keeps(arch, activation, norm):
    model = build_model(arch, 10, activation, norm, width=0.25)
    assert summarize(model, batch_size=4).activation_bytes == saved_bytes(model, 4)


def test_memory_of_a_densenet_is_what_a_real_forward_pass_keeps():
    model = build_model("densenet121", width=0.25)
    assert summarize(model, batch_size=2).activation_bytes == saved_bytes(model, 2)


def test_memory_grows_linearly_with_the_batch():
    model = build_on_meta("resnet18")
    two, three, nine = (summarize(model, batch_size=b).activation_bytes for b in (2, 3, 9))
    assert three > two
    assert nine - two == 7 * (three - two)
    # The rest are mean and rstd of each batch norm, 4 bytes each per channel.
    channels = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert two - 2 * (three - two) == 8 * channels


def test_the_model_is_left_as_it_was():
    model = build_model("resnet10", width=0.25).eval().bfloat16()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    in_half = summarize(model, batch_size=2)
    assert not model.training
    assert all(p.grad is None and p.device.type == "cpu" for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert in_half == summarize(model.float().train(), batch_size=2)  # always for fp32 training


def test_summarize_without_gradients_gives_the_same():
    model = build_on_meta("vgg11")
    with torch.no_grad():
        silent = summarize(model, batch_size=2)
    assert silent == summarize(model, batch_size=2)


def test_counting_follows_the_choices():
    chosen = {"num_classes": 7, "activation": "silu", "norm": "layer", "width": 0.5}
    built = sum(p.numel() for p in build_model("densenet121", **chosen).parameters())
    assert count_parameters("densenet121", **chosen) == built
