"""Classification: image bytes → uint8 [3, 32, 32] → network loaded from disk → labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from engine import allocator
from engine.config import RunConfig
from engine.data import ImageData, lineage
from engine.data.batches import Splits, sample_indices, split
from engine.data.images import open_rgb, to_pixels
from engine.data.types import IMAGE_SIZE
from engine.device import Compute
from engine.errors import CheckpointError, DataError
from engine.evaluate import (
    EVAL_BATCH,
    Tally,
    TestTimeAugmentation,
    evaluate,
    predict_logits,
)
from engine.fast import accelerate
from engine.models import build_model
from engine.runs import temperature
from engine.runs.checkpoint import apply_weights, describe_model, load_weights
from engine.runs.run import Run

MAX_BYTES = 20 * 2**20  # per upload, which a browser session holds in memory
CLEAN_IMAGES = 2_000  # size of the sample of training images; evaluating it takes seconds

Images = Sequence[Image.Image] | Tensor | np.ndarray  # see Predictor
LayerKind = Literal["inference", "training", "plain"]  # see load_network


@dataclass(frozen=True)
class Network:
    """A network in eval mode, with the normalization of its inputs and the names of its classes."""

    model: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    config: RunConfig  # of the run that trained it
    weights: Path  # file of the weights


def load_network(path: Path, compute: Compute, layers: LayerKind = "inference") -> Network:
    """Load the network of a run folder (its last weights), or of a weights file inside one.

    layers: "inference": the fast layers of inference; "training": those of the run's own
    validation, which in bf16 on a CPU round differently; "plain": PyTorch's own, for hooks.
    Raises CheckpointError or RunError if it does not exist or does not fit its own config.
    """
    is_file = path.suffix == ".safetensors" and not path.is_dir()
    weights = path if is_file else path / "last.safetensors"
    run = Run(weights.parent)
    config, info = run.config(), run.dataset_info()
    if info is None or not weights.is_file():
        raise CheckpointError(f"{path.name}: this run has no weights yet; train it first")
    choice = config.model
    model = build_model(**choice.arguments)
    apply_weights(model, *load_weights(weights), describe_model(choice))
    model = model.to(compute.device, memory_format=compute.memory_format).eval()
    if layers != "plain":
        training = layers == "training"
        accelerate(model, compute, training=training, compiled=training and config.compile)
    classes, mean, std = (tuple(info[key]) for key in ("classes", "mean", "std"))
    if len(classes) != choice.num_classes:
        raise CheckpointError(
            f"{run.name}: config.json names {len(classes)} classes, the network has "
            f"{choice.num_classes}"
        )
    return Network(model, classes, mean, std, config, weights)


def measure(
    network: Network,
    images: Tensor,
    labels: Tensor,
    compute: Compute,
    *,
    tta: TestTimeAugmentation | None = None,
) -> Tally:
    """Loss and accuracy on images, uint8 [N, 3, 32, 32], with labels, int64 [N].

    tta: average the logits over these views of each image; None: the original only.
    """
    tally = Tally()
    images, labels = images.to(compute.device), labels.to(compute.device)
    mean, std = network.mean, network.std
    with allocator.kept_blocks():
        for _ in evaluate(network.model, images, labels, mean, std, compute, tally, tta=tta):
            pass
    return tally


def own_splits(network: Network, images: ImageData) -> Splits:
    """The training and validation images of the run that trained a network.

    images: its data set. Raises ConfigError if the run's holdout does not fit them, RunError if its
    config.json is damaged.
    """
    choice = network.config.data
    before = lineage.stored(Run(network.weights.parent).dataset_info())
    return split(
        images,
        holdout=choice.holdout,
        limit=choice.limit,
        seed=network.config.seed,
        avoid=lineage.trained_on(before, images) if before else None,
        stratified=choice.stratified,
    )


def clean_train_accuracy(path: Path, images: ImageData, compute: Compute) -> float:
    """Accuracy, 0 to 1, of a run's last weights on training images without augmentation.

    Measured on a sample of at most CLEAN_IMAGES, drawn with the run's seed. images: its data set.
    Raises the same errors as load_network.
    """
    network = load_network(path, compute)
    parts, seed = own_splits(network, images), network.config.seed
    sample = sample_indices(len(parts.train_labels), CLEAN_IMAGES, seed)
    return measure(network, parts.train_images[sample], parts.train_labels[sample], compute).acc


class Predictor:
    """Classifies images with a network loaded from disk, never with one in training.

    Images are PIL images of any size, which are fitted to 32×32 (fit: "crop" or "pad", see
    data.images.to_square; None: as in the network's training), or a uint8 batch [N, 3, 32, 32]
    (tensor or array).
    """

    def __init__(self, network: Network, compute: Compute):
        self.network, self.compute = network, compute
        self.classes = network.classes
        self.temperature = temperature.read(network.weights)  # None: not calibrated

    @classmethod
    def load(cls, path: Path, compute: Compute | None = None) -> Predictor:
        """Load from a run folder or a weights file in one. Raises CheckpointError or RunError.

        compute: None: the CPU in fp32, which leaves GPU memory to training.
        """
        compute = compute or Compute(torch.device("cpu"), "fp32")
        return cls(load_network(Path(path), compute), compute)

    @property
    def fit(self) -> str:
        """How images that are not square were fitted when the network was trained."""
        return self.network.config.data.fit

    def logits(self, images: Images, fit: str | None = None) -> Tensor:
        """float32 [N, classes] on the CPU."""
        batch, net = to_batch(images, fit or self.fit), self.network
        rows = [torch.empty(0, len(self.classes))]
        for start in range(0, len(batch), EVAL_BATCH):
            part = batch[start : start + EVAL_BATCH].to(self.compute.device)
            rows.append(predict_logits(net.model, part, net.mean, net.std, self.compute).cpu())
        return torch.cat(rows)

    def probabilities(
        self, images: Images, fit: str | None = None, *, calibrated: bool = False
    ) -> np.ndarray:
        """Softmax of the logits, float32 [N, classes]; each row sums to 1.

        calibrated: divide the logits by the temperature, if there is one.
        """
        scale = (self.temperature or 1.0) if calibrated else 1.0
        return (self.logits(images, fit) / scale).softmax(1).numpy()

    def top_k(
        self, images: Images, k: int = 5, fit: str | None = None, *, calibrated: bool = False
    ) -> list[list[tuple[str, float]]]:
        """The k most likely (label, probability) of each image, most likely first."""
        return top_k(self.probabilities(images, fit, calibrated=calibrated), self.classes, k)


def top_k(
    probabilities: np.ndarray, classes: Sequence[str], k: int
) -> list[list[tuple[str, float]]]:
    """The k most likely (label, probability) of each row of [N, classes]; all if there are fewer.

    Ties go to the earlier class; torch.topk leaves their order undefined.
    """
    ordered = torch.from_numpy(probabilities).sort(dim=1, descending=True, stable=True)
    values, indices = (part[:, :k].tolist() for part in ordered)
    return [
        [(classes[i], value) for i, value in zip(*row, strict=True)]
        for row in zip(indices, values, strict=True)
    ]


def to_batch(images: Images, fit: str = "crop") -> Tensor:
    """PIL images, or a batch, as uint8 [N, 3, 32, 32]. Raises ValueError for any other batch."""
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    elif not isinstance(images, Tensor):
        empty = torch.empty(0, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
        inputs = [to_input(image, fit) for image in images]
        images = torch.stack(inputs) if inputs else empty
    if images.dtype != torch.uint8 or images.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"need uint8 [N, 3, 32, 32], not {images.dtype} {list(images.shape)}")
    return images


def to_input(image: Image.Image, fit: str = "crop") -> Tensor:
    """uint8 [3, 32, 32], the network's input before normalization. See data.images.to_square."""
    return torch.from_numpy(to_pixels(image.convert("RGB"), fit)).contiguous()


def to_image(pixels: Tensor) -> Image.Image:
    """Inverse of to_input: uint8 [3, H, W] as a PIL image."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def decode_image(data: bytes, part: int | None = None) -> Image.Image:
    """Decode an uploaded file, like an import: see data.images.open_rgb, also for `part`.

    Raises DataError, with a one-line message without the file's name, if the file is too large,
    too narrow, damaged or not an image.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"{len(data) / 2**20:.1f} MB, more than {MAX_BYTES // 2**20} MB")
    return open_rgb(data, part)
