"""One step: the loss and accuracy that it reports, and the augmentation that it samples."""

import pytest
import torch
from torch.nn import functional as F

from engine.randomness import Purpose, keyed_generator
from engine.training.step import sample_augmentation, train_step

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "augment",
    [
        {},
        {"augment.mixup": True, "augment.mixup_alpha": 1.0},
        {"augment.cutmix": True},
        {"augment.mixup": True, "augment.cutmix": True, "optim.label_smoothing": 0.1},
        {"optim.label_smoothing": 0.2},
    ],
    ids=str,
)
def test_loss_and_accuracy_are_weighted_by_lambda_and_smoothed(make_trainer, tiny, noise, augment):
    config = tiny(**augment)
    trainer = make_trainer(config=config)
    setup, seen = trainer.setup, []
    trainer.model.register_forward_hook(lambda model, inputs, logits: seen.append(logits.detach()))
    for step, indices in enumerate(torch.arange(48).split(16)):
        metrics = train_step(setup, trainer.network, trainer.state, indices)
        images, labels = noise.train_images[indices], noise.train_labels[indices]
        generator = keyed_generator(config.seed, Purpose.AUGMENT, 1, step)
        params = setup.pipeline.sample(images.shape, generator)
        _, a, b, lam = setup.pipeline.apply(images, labels, params)
        soft = lam * F.one_hot(a, 10) + (1 - lam) * F.one_hot(b, 10)
        smoothing = config.optim.label_smoothing
        loss = F.cross_entropy(seen[step], soft.float(), label_smoothing=smoothing)
        acc = soft[range(16), seen[step].argmax(1)].mean()
        assert (metrics.step, metrics.images) == (step + 1, 16)
        assert metrics.values.tolist() == pytest.approx([loss.item(), acc.item()], rel=1e-5)


def test_alternating_flip_shows_every_image_both_ways_in_two_epochs(make_trainer, tiny):
    setup = make_trainer(config=tiny(**{"augment.alternating_flip": True})).setup

    def flipped(indices, epoch):
        shape = setup.splits.train_images[indices].shape
        return sample_augmentation(setup, shape, indices, epoch, step=0).flip.flipped

    everything = torch.arange(48)
    first, second, third = (flipped(everything, epoch) for epoch in (1, 2, 3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert first.any()
    assert not first.all()
    some = torch.tensor([5, 40, 7])  # whatever batch an image is in
    assert torch.equal(flipped(some, 1), first[some])


def test_augmentation_is_keyed_by_seed_epoch_and_step(make_trainer, tiny, same):
    setups = [make_trainer(config=tiny(seed=seed)).setup for seed in (1, 2)]
    shape, indices = torch.Size([16, 3, 32, 32]), torch.arange(16)
    first = sample_augmentation(setups[0], shape, indices, epoch=1, step=2)
    assert same(sample_augmentation(setups[0], shape, indices, epoch=1, step=2), first)
    for setup, epoch, step in ((setups[1], 1, 2), (setups[0], 2, 2), (setups[0], 1, 3)):
        assert not same(sample_augmentation(setup, shape, indices, epoch, step), first)
