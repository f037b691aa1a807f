"""Progressive resizing: which size when, what it does to a picture, and who cannot take it."""

import pytest
import torch

from engine.errors import ConfigError
from engine.models import build_on_meta
from engine.training import progressive

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


def test_sizes_grow_to_the_full_one():
    sizes = [progressive.size_at(step / 100, 32) for step in range(100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[50] < sizes[-1] == 32


def test_a_picture_smaller_than_the_first_size_is_left_as_it_is():
    assert [progressive.size_at(share, 16) for share in (0.0, 0.6, 0.9)] == [16] * 3


def test_resizing_keeps_the_mean_and_the_place_of_things():
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, :16, :16] = 1
    small = progressive.resize(images, 20)
    assert small.shape == (1, 3, 20, 20)
    assert small.mean().item() == pytest.approx(0.25, abs=0.01)
    assert small[0, 0, 2, 2] == 1
    assert small[0, 0, 17, 17] == 0


@pytest.mark.parametrize("arch", ["speedrun", "resnet18", "densenet121", "convmixer256d8"])
def test_networks_that_can_see_small_images(arch):
    progressive.check(build_on_meta(arch))


def test_a_network_that_cannot_is_refused_with_the_setting():
    with pytest.raises(
        ConfigError, match="progressive: this architecture does not accept images of 20"
    ):
        progressive.check(build_on_meta("vgg11"))


@pytest.mark.parametrize("done", [0.0, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("full", [16, 24, 32])
def test_the_cost_is_that_of_all_steps_to_come(full, done):
    sizes = [progressive.size_at(step / 10_000, full) for step in range(10_000)]
    left = sum((size / full) ** 2 for size in sizes[int(10_000 * done) :]) / len(sizes)
    assert progressive.cost(full, done) == pytest.approx(left, abs=1e-3)
    assert progressive.sizes(full) == sorted(set(sizes))


def test_the_network_sees_them(make_trainer, tiny):
    seen = []
    trainer = make_trainer(config=tiny(progressive=True))
    trainer.model.register_forward_pre_hook(
        lambda model, inputs: seen.append(inputs[0].shape[-1]) if model.training else None
    )
    list(trainer.fit())
    assert seen == [20, 20, 20, 26, 32, 32]
