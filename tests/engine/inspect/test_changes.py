"""Changes of an image, and the answers to them."""

import pytest
import torch

from engine.inspect import changes

IMAGE = torch.arange(3 * 32 * 32).remainder(251).to(torch.uint8).reshape(3, 32, 32)


def test_a_shift_moves_pixels_and_repeats_the_border():
    moved = changes.shift(IMAGE, 2, -1)
    assert torch.equal(moved[:, :-1, 2:], IMAGE[:, 1:, :-2])
    assert torch.equal(moved[:, :-1, 0], IMAGE[:, 1:, 0])
    assert torch.equal(moved[:, -1, 2:], IMAGE[:, -1, :-2])
    with pytest.raises(ValueError, match="leaves nothing"):
        changes.shift(IMAGE, 33, 0)


def test_a_square_covers_what_is_inside_of_the_image():
    covered = changes.occlude(IMAGE, -2, 30, 4)
    differs = (covered != IMAGE).any(0)
    assert differs[30:, :2].all()
    assert differs.sum() <= 4
    assert covered[:, 30:, :2].unique().tolist() == [128]


def test_colors_blur_and_brightness():
    red, green, blue = changes.gray(IMAGE)
    assert torch.equal(red, green)
    assert torch.equal(red, blue)
    assert torch.equal(changes.flip(changes.flip(IMAGE)), IMAGE)
    assert changes.blur(IMAGE, 2.0).float().std() < IMAGE.float().std()
    assert torch.equal(changes.brightness(IMAGE, 1.0), IMAGE)
    assert changes.brightness(IMAGE, 0.0).max() == 0


def test_effects_are_differences_of_the_answers():
    def probabilities(images):
        level = images.float().mean((1, 2, 3)) / 255
        return torch.stack([level, 1 - level], 1)

    dark, same = changes.effects(
        IMAGE, [changes.brightness(IMAGE, 0.0), changes.flip(IMAGE)], probabilities
    )
    level = IMAGE.float().mean().item() / 255
    assert dark.change.tolist() == pytest.approx([-level, level])
    assert same.change.abs().max() < 1e-6
    assert torch.equal(same.image, IMAGE.flip(-1))
