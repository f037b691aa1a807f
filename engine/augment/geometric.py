"""Where the picture is: random crops and mirror images."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from engine.errors import ConfigError

Shape = tuple[int, int, int, int]  # (B, C, H, W)


def check_probability(field: str, p: float) -> None:
    """Raises ConfigError, naming `field`, unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ConfigError(field, f"{p} is not a probability from 0 to 1")


def to_device(tensors: Iterable[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """CPU `tensors` on `device`; on CUDA without waiting for the work queued there."""
    # Only CUDA has read the source when this returns; elsewhere it might be freed too early.
    return [tensor.to(device, non_blocking=device.type == "cuda") for tensor in tensors]


class CropParams(NamedTuple):
    top: torch.Tensor  # (B,) int64, 0 to 2·padding
    left: torch.Tensor  # (B,) int64, 0 to 2·padding


@dataclass(frozen=True)
class RandomCrop:
    """Shift each image by up to `padding` pixels each way; what comes into view is 0.

    That is: pad by `padding` with zeros, then crop at the old size, every offset as likely. As in
    He et al. 2015, arXiv 1512.03385, section 4.2. With `reflect` the picture's own mirror image
    comes into view instead, as in Jordan 2024, arXiv 2404.00498. Raises ConfigError for a negative
    padding.
    """

    padding: int = 4  # pixels
    reflect: bool = False

    def __post_init__(self):
        if self.padding < 0:
            raise ConfigError("augment.crop_padding", f"{self.padding} is not 0 or more")

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> CropParams:
        offsets = torch.randint(2 * self.padding + 1, (2, batch_shape[0]), generator=generator)
        return CropParams(offsets[0], offsets[1])

    def apply(self, images: torch.Tensor, params: CropParams) -> torch.Tensor:
        """images: (B, C, H, W), uint8 or float. Returns new images of that shape and type."""
        batch, channels, height, width = images.shape
        top, left = to_device(params, images.device)
        pad, planes = self.padding, batch * channels
        across, down = width + 2 * pad, height + 2 * pad
        # A crop is a piece of the padded plane, in a line from the place of its first pixel, less
        # what is between its rows. The last one's ends where another row would begin.
        line = images.new_zeros(planes * down * across + 2 * pad)
        padded = line[: planes * down * across].view(batch, channels, down, across)
        if self.reflect:
            padded.copy_(self._reflected(images))
        else:
            padded[:, :, pad : pad + height, pad : pad + width] = images
        pieces = line.unfold(0, height * across, 1)
        first = torch.arange(0, len(line) - 2 * pad, down * across, device=images.device)
        first = first.view(batch, channels) + (top * across + left)[:, None]
        cropped = pieces.index_select(0, first.view(-1))
        return cropped.view(batch, channels, height, across)[..., :width]

    def _reflected(self, images: torch.Tensor) -> torch.Tensor:
        # Not F.pad, which reflects no uint8 images.
        for axis in (2, 3):
            size = images.shape[axis]
            places = torch.arange(-self.padding, size + self.padding, device=images.device)
            places = (size - 1) - (size - 1 - places.abs()).abs()
            images = images.index_select(axis, places)
        return images


class FlipParams(NamedTuple):
    flipped: torch.Tensor  # (B,) bool


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror each image with probability `p`. Raises ConfigError unless 0 <= p <= 1."""

    p: float = 0.5

    def __post_init__(self):
        check_probability("augment.flip_p", self.p)

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> FlipParams:
        return FlipParams(torch.rand(batch_shape[0], generator=generator) < self.p)

    def apply(self, images: torch.Tensor, params: FlipParams) -> torch.Tensor:
        """images: (B, C, H, W), any type. Returns new images of that shape and type."""
        batch = len(images)
        # The place of each image, or of its mirror image, among both: no faster way was found.
        places = torch.arange(batch) + batch * params.flipped
        (places,) = to_device([places], images.device)
        return torch.cat([images, images.flip(3)]).index_select(0, places)
