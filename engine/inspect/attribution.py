"""Why an answer: Grad-CAM, integrated gradients and occlusion, with captum.

All take the plain network in fp32 (`load_network(path, compute, "plain")`). Inputs are normalized
images [1, 3, H, W]; maps are [H, W], a number for each pixel.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion
from torch import Tensor

from engine.augment.pipeline import normalize
from engine.models.base import ImageClassifier
from engine.predict import Network, to_batch

STEPS = (64, 256, 1024)  # of the integral, until it is exact enough
TOLERANCE = 0.01  # of the difference between the outputs
BATCH = 64  # interpolated images in one pass
WINDOW, STRIDE = 8, 4  # pixels, of occlusion


class Integrated(NamedTuple):
    """Integrated gradients, and how exact they are."""

    values: Tensor  # [3, H, W], for each channel of each pixel
    difference: float  # output for the image less that for the baseline: the sum of exact values
    error: float  # sum of the values less `difference`

    @property
    def map(self) -> Tensor:
        """Sum over channels, [H, W]."""
        return self.values.sum(0)

    @property
    def is_complete(self) -> bool:
        """Whether the values sum to the difference of the outputs, within 1 %."""
        return abs(self.error) <= TOLERANCE * abs(self.difference)


class Explanation(NamedTuple):
    """Three maps [H, W] of what speaks for one class."""

    cam: Tensor  # 0 and above
    integrated: Integrated
    occluded: Tensor


def class_activation(network: Network, image: np.ndarray, target: int) -> np.ndarray:
    """Grad-CAM of an image, uint8 [3, 32, 32], as float32 [32, 32]. network: as for `explain`."""
    x = normalize(to_batch(image[None]), network.mean, network.std)
    return grad_cam(network.model, x, target).numpy()


def explain(network: Network, image: Tensor, target: int) -> Explanation:
    """Grad-CAM, integrated gradients and occlusion of an image, uint8 [3, H, W].

    network: plain layers, on the CPU.
    """
    x = normalize(image[None], network.mean, network.std)
    return Explanation(
        grad_cam(network.model, x, target),
        integrated_gradients(network.model, x, target),
        occlusion(network.model, x, target),
    )


def grad_cam(model: ImageClassifier, x: Tensor, target: int) -> Tensor:
    """Grad-CAM at the network's `cam_layer`, 0 and above: what speaks for class `target`.

    Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2; enlarged to [H, W] bilinearly.
    """
    model = copy.deepcopy(model)  # its hook would see the passes of other threads
    layer = model.get_submodule(model.cam_layer)
    with torch.enable_grad():
        coarse = LayerGradCam(model, layer).attribute(
            x, target, relu_attributions=True, attr_dim_summation=True
        )
    return LayerAttribution.interpolate(coarse.detach(), tuple(x.shape[2:]), "bilinear")[0, 0]


def integrated_gradients(
    model: ImageClassifier, x: Tensor, target: int, baseline: Tensor | None = None
) -> Integrated:
    """Sundararajan et al. 2017, arXiv 1703.01365, equation 1, for the logit of class `target`.

    baseline: None: zeros, an image of the data set's mean color. With more steps until the values
    sum to the difference of the outputs within 1 %, or 1,024.
    """
    baseline = torch.zeros_like(x) if baseline is None else baseline
    with torch.no_grad():
        difference = (model(x)[0, target] - model(baseline)[0, target]).item()
    method = IntegratedGradients(model)
    for steps in STEPS:
        with torch.enable_grad():
            values = method.attribute(
                x, baseline, target, n_steps=steps, internal_batch_size=BATCH
            ).detach()[0]
        found = Integrated(values, difference, values.double().sum().item() - difference)
        if found.is_complete:
            break
    return found


def occlusion(model: ImageClassifier, x: Tensor, target: int) -> Tensor:
    """How much the logit of class `target` falls when a square of 8×8 pixels is covered.

    Zeiler and Fergus 2014, arXiv 1311.2901. Squares of the mean color, 4 pixels apart; each pixel
    gets the mean of the squares that cover it.
    """
    with torch.no_grad():
        values = Occlusion(model).attribute(
            x,
            sliding_window_shapes=(x.shape[1], WINDOW, WINDOW),
            strides=(x.shape[1], STRIDE, STRIDE),
            target=target,
            perturbations_per_eval=BATCH,
        )
    return values[0, 0]
