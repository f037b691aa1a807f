"""Random erasing: set a random rectangle of each image to the mean color."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from engine.augment.geometric import Shape, check_probability, to_device
from engine.errors import ConfigError

ATTEMPTS = 10  # rectangles drawn per image, as in torchvision


class ErasingParams(NamedTuple):
    """One rectangle for each image, in pixels; all zero where nothing is erased."""

    top: torch.Tensor  # (B,) int64
    left: torch.Tensor  # (B,) int64
    height: torch.Tensor  # (B,) int64
    width: torch.Tensor  # (B,) int64


@dataclass(frozen=True)
class RandomErasing:
    """Set a random rectangle of each image to 0, the mean color after normalization.

    Zhong et al. 2017, "Random Erasing Data Augmentation", arXiv 1708.04896, algorithm 1, as in
    torchvision: area uniform in `scale`, aspect ratio log-uniform in `ratio`. The first of ten
    attempts that is smaller than the image in both dimensions is erased; if there is none, the
    image is unchanged. Raises ConfigError for a value out of range.
    """

    p: float = 0.5  # probability that an image is erased
    scale: tuple[float, float] = (0.02, 0.33)  # erased fraction of the area, 0 to 1
    ratio: tuple[float, float] = (0.3, 3.3)  # height / width, above 0

    def __post_init__(self):
        check_probability("augment.erase_p", self.p)
        if not 0 <= self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError("augment.erase_scale", f"{self.scale} is not a range within 0 to 1")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ConfigError("augment.erase_ratio", f"{self.ratio} is not a range above 0")

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> ErasingParams:
        """Draw one rectangle for each image of a batch (B, C, H, W)."""
        batch, _, image_height, image_width = batch_shape

        def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
            # float64: in float32, rounding could return `high` itself
            values = torch.rand(batch, *shape, generator=generator, dtype=torch.float64)
            return values if (low, high) == (0, 1) else values.mul_(high - low).add_(low)

        chosen = uniform(0, 1) < self.p
        area = uniform(*self.scale, ATTEMPTS).mul_(image_height * image_width)
        ratio = uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), ATTEMPTS).exp_()
        height = (area * ratio).sqrt_().round_()
        width = (area / ratio).sqrt_().round_()
        fits = (height < image_height) & (width < image_width)  # (B, ATTEMPTS)
        any_fits, first = fits.max(dim=1, keepdim=True)
        height = height.gather(1, first).squeeze(1)
        width = width.gather(1, first).squeeze(1)
        top = (uniform(0, 1) * (image_height + 1 - height)).floor_()
        left = (uniform(0, 1) * (image_width + 1 - width)).floor_()
        erased = chosen & any_fits.squeeze(1)
        return ErasingParams(*(torch.stack([top, left, height, width]) * erased).long())

    def apply(self, images: torch.Tensor, params: ErasingParams) -> torch.Tensor:
        """images: (B, C, H, W), normalized. Returns new images of the same shape and dtype."""
        top, left, height, width = (t[:, None] for t in to_device(params, images.device))
        rows = torch.arange(images.shape[2], device=images.device)
        columns = torch.arange(images.shape[3], device=images.device)
        kept_rows = ((rows < top) | (rows >= top + height)).to(images.dtype)  # (B, H)
        kept_columns = ((columns < left) | (columns >= left + width)).to(images.dtype)  # (B, W)
        # In the dtype of the images: broadcasting bool masks takes over 50 % longer.
        kept = torch.maximum(kept_rows[:, :, None], kept_columns[:, None, :])  # (B, H, W)
        return images * kept[:, None]
