"""Maps and neighbors of images by pooled features, the input of a network's last layer."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor
from torch.nn import functional as F

COMPONENTS = 50  # to which t-SNE's input is reduced
STAGES, STAGE_STEPS = 4, 250  # scikit-learn's smallest number of iterations
PERPLEXITY = 30.0
MIN_IMAGES = 4


class Projection(NamedTuple):
    """Images as points of a plane."""

    points: np.ndarray  # float32 [N, 2]
    share: float  # of the features' variance, 0 to 1


class Neighbors(NamedTuple):
    """The images most similar to another one, nearest first."""

    indices: list[int]
    similarities: list[float]  # cosine, -1 to 1


def pca(features: Tensor) -> Projection:
    """The first two principal components of features [N, C], N ≥ 4. Raises ValueError."""
    _check(features)
    if features.shape[1] == 1:
        features = F.pad(features, (0, 1))
    model = PCA(2, svd_solver="covariance_eigh")
    points = model.fit_transform(features.double().numpy())
    share = float(np.nan_to_num(model.explained_variance_ratio_).sum())
    return Projection(points.astype(np.float32), share)


def tsne(features: Tensor, seed: int = 0) -> Generator[tuple[float, np.ndarray], None, None]:
    """t-SNE (van der Maaten and Hinton 2008) of features [N, C]; yields (share done, points).

    points: float32 [N, 2]; the last ones are the result. It may be closed between two yields: it is
    computed in stages of 250 iterations, as scikit-learn reports no progress. 2,000 images take
    about half a minute. Equal features, as of a collapsed network, all lie at 0. Raises ValueError
    for fewer than 4 images.
    """
    _check(features)
    inputs = features.numpy()
    size = min(COMPONENTS, *inputs.shape)
    if (inputs == inputs[0]).all():  # scikit-learn divides by their deviation, and crashes
        yield 1.0, np.zeros((len(inputs), 2), inputs.dtype)
        return
    inputs = PCA(size, random_state=seed).fit_transform(inputs)
    perplexity = min(PERPLEXITY, (len(inputs) - 1) / 3)
    points: str | np.ndarray = "pca" if size >= 2 else "random"
    for stage in range(STAGES):
        model = TSNE(
            init=points,
            perplexity=perplexity,
            early_exaggeration=1.0 if stage else 12.0,  # of the first stage only
            max_iter=STAGE_STEPS,
            random_state=seed,
        )
        points = model.fit_transform(inputs)
        yield (stage + 1) / STAGES, points


def nearest(features: Tensor, known: Tensor, count: int = 8) -> list[Neighbors]:
    """For each row of features [N, C], the most similar of known [M, C], such as training images.

    By cosine similarity. Rows beyond M are left out.
    """
    similarities = F.normalize(features.float(), dim=1) @ F.normalize(known.float(), dim=1).T
    values, indices = similarities.topk(min(count, len(known)), dim=1)
    return [Neighbors(*row) for row in zip(indices.tolist(), values.tolist(), strict=True)]


def _check(features: Tensor) -> None:
    if len(features) < MIN_IMAGES:
        raise ValueError(f"a map needs at least {MIN_IMAGES} images, not {len(features)}")
    if not torch.isfinite(features).all():
        raise ValueError("the features hold values that are not finite")
