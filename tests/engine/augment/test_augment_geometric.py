"""Random crop and flip against references that loop over images and pixels."""

import pytest
import scipy.stats
import torch

from engine.augment import CropParams, FlipParams, RandomCrop, RandomHorizontalFlip
from engine.augment.geometric import pieces
from engine.errors import ConfigError


def numbered(batch, dtype, height=32, width=32):
    """Images whose pixels (nearly) all differ, none of them 0."""
    generator = torch.Generator().manual_seed(2)
    shape = (batch, 3, height, width)
    return torch.randint(1, 256, shape, generator=generator).to(dtype)


def slow_crop(image, padding, top, left):
    _, height, width = image.shape
    result = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            source_row, source_column = row + top - padding, column + left - padding
            if 0 <= source_row < height and 0 <= source_column < width:
                result[:, row, column] = image[:, source_row, source_column]
    return result


def test_pieces_are_the_same_by_a_view_and_by_indices():
    flat, starts = torch.arange(50), torch.tensor([7, 0, 40, 7])
    expected = torch.stack([torch.arange(start, start + 10) for start in starts])
    for view in (True, False):
        assert pieces(flat, starts, 10, view=view).equal(expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("padding", "height", "width"), [(4, 32, 32), (2, 9, 14), (0, 8, 8)])
def test_crop_equals_the_slow_reference(dtype, padding, height, width):
    images = numbered(6, dtype, height, width)
    crop = RandomCrop(padding)
    params = crop.sample(images.shape, torch.Generator().manual_seed(3))
    # Include both extreme offsets.
    top = params.top.clone().index_fill_(0, torch.tensor([0]), 0)
    top[1] = 2 * padding
    params = CropParams(top, params.left)
    result = crop.apply(images, params)
    assert result.dtype == dtype
    for image, cropped, y, x in zip(images, result, *(p.tolist() for p in params), strict=True):
        assert torch.equal(cropped, slow_crop(image, padding, y, x))


def test_crop_offsets_are_uniform_and_independent():
    params = RandomCrop(4).sample((8100, 3, 32, 32), torch.Generator().manual_seed(4))
    pairs = torch.bincount(params.top * 9 + params.left, minlength=81)
    assert len(pairs) == 81
    assert scipy.stats.chisquare(pairs.numpy()).pvalue > 1e-3


def test_the_middle_offset_leaves_the_image():
    images = numbered(3, torch.uint8)
    middle = torch.full((3,), 4)
    assert torch.equal(RandomCrop(4).apply(images, CropParams(middle, middle)), images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_flip_mirrors_the_chosen_images_only(dtype):
    images = numbered(4, dtype)
    params = FlipParams(torch.tensor([True, False, False, True]))
    result = RandomHorizontalFlip().apply(images, params)
    for index, flipped in enumerate(params.flipped.tolist()):
        for column in range(32):
            source = 31 - column if flipped else column
            assert torch.equal(result[index, :, :, column], images[index, :, :, source])


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_flip_probability(p):
    params = RandomHorizontalFlip(p).sample((5000, 3, 8, 8), torch.Generator().manual_seed(5))
    flipped = int(params.flipped.sum())
    assert scipy.stats.binomtest(flipped, 5000, p).pvalue > 1e-3


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("augment.crop_padding", lambda: RandomCrop(-1)),
        ("augment.flip_p", lambda: RandomHorizontalFlip(1.5)),
        ("augment.flip_p", lambda: RandomHorizontalFlip(float("nan"))),
    ],
)
def test_impossible_values_name_their_field(field, make):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


def test_a_reflecting_crop_pads_as_torch_does():
    images = numbered(3, torch.uint8, 8, 8)
    crop, far = RandomCrop(4, reflect=True), torch.tensor([0, 8, 5])
    padded = torch.nn.functional.pad(images.float(), [4] * 4, mode="reflect").byte()
    result = crop.apply(images, CropParams(far, far))
    for index, start in enumerate(far.tolist()):
        assert torch.equal(result[index], padded[index, :, start : start + 8, start : start + 8])
