"""Patch whitening: a fixed first layer that decorrelates the inputs of a network.

Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, section 3.2 (after
Page 2019, "How to train your ResNet 8"): the eigenvectors of the covariance of the training
images' 2×2 patches, each divided by the square root of its eigenvalue, and their negatives.
"""

import torch
from torch import nn
from torch.nn import functional as F

PATCH = 2  # pixels
CHANNELS = 2 * 3 * PATCH**2  # every filter and its negative
EPSILON = 5e-4  # added to the eigenvalues, to bound the gain of the smallest ones
IMAGES = 5_000  # sample for `fit`; enough for a 12 × 12 covariance matrix


class Whitening(nn.Module):
    """Patch whitening layer: (B, 3, H, W) -> (B, 24, H', W'), to be followed by an activation.

    same: zero-pad the bottom and right edges, so that H' = H; otherwise H' = H - 1. The filters
    are a buffer, zero until `fit` computes them. Unlike the paper's layer, whose bias is trained
    for a few epochs, it has no parameters, so that no gradient is propagated through the largest
    feature maps.
    """

    def __init__(self, *, same: bool):
        super().__init__()
        self.register_buffer("weight", torch.zeros(CHANNELS, 3, PATCH, PATCH))
        self.pad = (0, PATCH - 1, 0, PATCH - 1) if same else None

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pad:
            x = F.pad(x, self.pad)
        return F.conv2d(x, self.weight)

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> None:
        """Compute the filters from images (N, 3, H, W), normalized as in training."""
        patches = images.float().unfold(2, PATCH, 1).unfold(3, PATCH, 1)
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, CHANNELS // 2).double()
        values, vectors = torch.linalg.eigh(
            flat.T @ flat / len(flat)
        )  # ascending; eigenvectors in columns
        filters = (vectors / (values + EPSILON).sqrt()).T.flip(0)
        # An eigenvector's sign is arbitrary; fix it, so that the order of the filters is, too.
        filters *= filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()
        filters = filters.reshape(-1, 3, PATCH, PATCH)
        self.weight.copy_(torch.cat([filters, -filters]))


def find(model: nn.Module) -> Whitening | None:
    """The whitening layer of a network, or None."""
    return next((m for m in model.modules() if isinstance(m, Whitening)), None)
