"""Geometric augmentations: random crop and random horizontal flip."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from engine.errors import ConfigError

Shape = tuple[int, int, int, int]  # (B, C, H, W)


def check_probability(field: str, p: float) -> None:
    """Raises ConfigError, which names `field`, unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ConfigError(field, f"{p} is not a probability from 0 to 1")


def to_device(tensors: Iterable[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Copies of CPU `tensors` on `device`; on CUDA without a device synchronization."""
    # Only for CUDA is it safe to free the source as soon as this returns.
    return [tensor.to(device, non_blocking=device.type == "cuda") for tensor in tensors]


class CropParams(NamedTuple):
    top: torch.Tensor  # (B,) int64, 0 to 2·padding
    left: torch.Tensor  # (B,) int64, 0 to 2·padding


@dataclass(frozen=True)
class RandomCrop:
    """Pad each side by `padding` pixels, then crop to the original size at a uniform offset.

    He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2.
    Pads with zeros or, if `reflect`, by reflection (Jordan 2024, arXiv 2404.00498). Raises
    ConfigError for a negative padding.
    """

    padding: int = 4  # pixels
    reflect: bool = False

    def __post_init__(self):
        if self.padding < 0:
            raise ConfigError("augment.crop_padding", f"{self.padding} is not 0 or more")

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> CropParams:
        """Draw one offset for each image of a batch (B, C, H, W)."""
        offsets = torch.randint(2 * self.padding + 1, (2, batch_shape[0]), generator=generator)
        return CropParams(offsets[0], offsets[1])

    def apply(self, images: torch.Tensor, params: CropParams) -> torch.Tensor:
        """images: (B, C, H, W), uint8 or float. Returns new images of the same shape and dtype."""
        batch, channels, height, width = images.shape
        top, left = to_device(params, images.device)
        pad, planes = self.padding, batch * channels
        padded_width, padded_height = width + 2 * pad, height + 2 * pad
        plane = padded_height * padded_width
        # A crop is a contiguous piece of the flattened padded plane: `height` rows of the padded
        # width, of which the extra columns are sliced off. The 2 * pad extra elements keep the
        # piece at the largest offset of the last plane within bounds.
        flat = images.new_zeros(planes * plane + 2 * pad)
        padded = flat[: planes * plane].view(batch, channels, padded_height, padded_width)
        if self.reflect:
            padded.copy_(self._reflected(images))
        else:
            padded[:, :, pad : pad + height, pad : pad + width] = images
        starts = torch.arange(0, planes * plane, plane, device=images.device)
        starts = starts.view(batch, channels) + (top * padded_width + left)[:, None]
        # MPS copies a view before it reads it; this one has a gigabyte for a batch of 128.
        view = images.device.type != "mps"
        cropped = pieces(flat, starts.view(-1), height * padded_width, view=view)
        return cropped.view(batch, channels, height, padded_width)[..., :width]

    def _reflected(self, images: torch.Tensor) -> torch.Tensor:
        # F.pad does not support reflection of uint8 images.
        for axis in (2, 3):
            size = images.shape[axis]
            indices = torch.arange(-self.padding, size + self.padding, device=images.device)
            indices = (size - 1) - (size - 1 - indices.abs()).abs()
            images = images.index_select(axis, indices)
        return images


def pieces(flat: torch.Tensor, starts: torch.Tensor, length: int, *, view: bool) -> torch.Tensor:
    """The `length` elements of `flat` from each start: (starts, length).

    view: read them through a view, the fastest variant measured on a CPU, instead of by indices.
    """
    if view:
        return flat.unfold(0, length, 1).index_select(0, starts)
    return flat[starts[:, None] + torch.arange(length, device=flat.device)]


class FlipParams(NamedTuple):
    flipped: torch.Tensor  # (B,) bool


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Flip each image horizontally with probability `p`. Raises ConfigError unless 0 <= p <= 1."""

    p: float = 0.5

    def __post_init__(self):
        check_probability("augment.flip_p", self.p)

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> FlipParams:
        """Draw whether to flip each image of a batch (B, C, H, W)."""
        return FlipParams(torch.rand(batch_shape[0], generator=generator) < self.p)

    def apply(self, images: torch.Tensor, params: FlipParams) -> torch.Tensor:
        """images: (B, C, H, W), any dtype. Returns new images of the same shape and dtype."""
        batch = len(images)
        # Indices into the originals followed by the flipped images: the fastest variant measured.
        indices = torch.arange(batch) + batch * params.flipped
        (indices,) = to_device([indices], images.device)
        return torch.cat([images, images.flip(3)]).index_select(0, indices)
