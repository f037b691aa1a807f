"""The order of the steps, and properties of all steps: pure, seeded, on any device."""

import dataclasses
import random

import numpy as np
import pytest
import scipy.stats
import torch

from engine.augment import (
    CutMix,
    Mixup,
    Pipeline,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    denormalize,
    normalize,
)

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SHAPE = (16, 3, 32, 32)
ALL = Pipeline(MEAN, STD, RandomCrop(), RandomHorizontalFlip(), RandomErasing(), Mixup(), CutMix())
STEPS = [ALL.crop, ALL.flip, ALL.erasing, ALL.mixup, ALL.cutmix]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def pixels():
    return torch.randint(0, 256, SHAPE, generator=seeded(1), dtype=torch.uint8)


def labels():
    return torch.arange(SHAPE[0])


def params_with(step, pipeline=ALL):
    """Params of the first seed for which `step` is used."""
    drawn = (pipeline.sample(SHAPE, seeded(seed)) for seed in range(100))
    return next(params for params in drawn if getattr(params, step) is not None)


def equal(first, second):
    """Whether two nested tuples of tensors and numbers are the same."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def run(step, images, params):
    mixes = isinstance(step, Mixup | CutMix)
    return step.apply(images, labels(), params) if mixes else step.apply(images, params)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_each_step_is_pure(step):
    images = normalize(pixels(), MEAN, STD)
    before = images.clone()
    params = step.sample(SHAPE, seeded(2))
    assert equal(step.sample(SHAPE, seeded(2)), params)
    assert not equal(step.sample(SHAPE, seeded(3)), params)
    first, second = run(step, images, params), run(step, images, params)
    assert equal(first, second)
    result = first[0] if isinstance(first, tuple) else first
    assert not torch.equal(result, images)
    assert torch.equal(images, before)
    result.zero_()  # the result is not a view of the input
    assert torch.equal(images, before)


def test_the_pipeline_is_pure():
    images, targets = pixels(), labels()
    params = ALL.sample(SHAPE, seeded(4))
    assert equal(ALL.sample(SHAPE, seeded(4)), params)
    assert not equal(ALL.sample(SHAPE, seeded(5)), params)
    assert equal(ALL.apply(images, targets, params), ALL.apply(images, targets, params))
    assert torch.equal(images, pixels())
    assert torch.equal(targets, labels())


def test_the_global_random_state_is_neither_read_nor_written():
    def state():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

    before = state()
    first = ALL.sample(SHAPE, seeded(6))
    ALL.apply(pixels(), labels(), first)
    assert state() == before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert equal(ALL.sample(SHAPE, seeded(6)), first)


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_the_order_of_the_steps(mixing):
    params = params_with(mixing)
    stages = ALL.stages(pixels(), labels(), params)
    names = ["input", "crop", "flip", "normalize", "erasing", mixing]
    assert [stage.name for stage in stages] == names

    cropped = ALL.crop.apply(pixels(), params.crop)
    flipped = ALL.flip.apply(cropped, params.flip)
    normalized = normalize(flipped, MEAN, STD)
    erased = ALL.erasing.apply(normalized, params.erasing)
    mixed = getattr(ALL, mixing).apply(erased, labels(), getattr(params, mixing))
    for stage, images in zip(
        stages, [pixels(), cropped, flipped, normalized, erased, mixed[0]], strict=True
    ):
        assert torch.equal(stage.images, images), stage.name
    assert equal(stages[-1][1:], mixed)
    assert equal(ALL.apply(pixels(), labels(), params), mixed)


@pytest.mark.parametrize("off", ["crop", "flip", "erasing", "mixup", "cutmix"])
def test_a_step_that_is_off_is_left_out(off):
    pipeline = dataclasses.replace(ALL, **{off: None})
    seen = set()
    for seed in range(8):
        params = pipeline.sample(SHAPE, seeded(seed))
        stages = pipeline.stages(pixels(), labels(), params)
        seen |= {stage.name for stage in stages}
        assert equal(pipeline.apply(pixels(), labels(), params), tuple(stages[-1][1:]))
    everything = {"input", "crop", "flip", "normalize", "erasing", "mixup", "cutmix"}
    assert seen == everything - {off}


def test_without_mixing_the_targets_are_the_labels():
    pipeline = dataclasses.replace(ALL, mixup=None, cutmix=None)
    targets = labels()
    params = pipeline.sample(SHAPE, seeded(7))
    _, targets_a, targets_b, lam = pipeline.apply(pixels(), targets, params)
    assert targets_a is targets
    assert targets_b is targets
    assert lam == 1.0


def test_with_nothing_on_the_images_are_only_normalized():
    plain = Pipeline(MEAN, STD)
    images = plain.apply(pixels(), labels(), plain.sample(SHAPE, seeded(8)))[0]
    assert torch.equal(images, normalize(pixels(), MEAN, STD))


def test_mixup_and_cutmix_are_equally_likely():
    generator = seeded(9)
    drawn = [ALL.sample((2, 3, 8, 8), generator) for _ in range(2000)]
    assert all((params.mixup is None) != (params.cutmix is None) for params in drawn)
    mixups = sum(params.mixup is not None for params in drawn)
    assert scipy.stats.binomtest(mixups, 2000, 0.5).pvalue > 1e-3


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_any_device_without_a_synchronization(mixing):
    """On the meta device any synchronization, such as `.item()`, raises."""
    images, targets = pixels().to("meta"), labels().to("meta")
    mixed, targets_a, targets_b, _ = ALL.apply(images, targets, params_with(mixing))
    assert mixed.shape == SHAPE
    assert mixed.dtype == torch.float32
    assert {mixed.device.type, targets_a.device.type, targets_b.device.type} == {"meta"}


def test_normalize_by_hand():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    result = normalize(images, (0.5, 0.1, 0.25), (0.25, 0.1, 0.5))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.flatten(), torch.tensor([-2.0, 1.0, 1.5]))


def test_normalize_refuses_images_that_may_be_scaled_already():
    with pytest.raises(TypeError, match="takes uint8 images, not"):
        normalize(torch.zeros(1, 3, 4, 4), MEAN, STD)


def test_denormalize_is_the_inverse_for_every_pixel_value():
    images = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    assert torch.equal(denormalize(normalize(images, MEAN, STD), MEAN, STD), images)
    beyond = denormalize(torch.tensor([-9.0, 9.0]).expand(1, 3, 1, 2), MEAN, STD)
    assert beyond.unique().tolist() == [0, 255]
