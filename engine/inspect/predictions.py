"""Logits and pooled features of many images, computed once for each network and set of images.

Cached as `<folder>/<key>.safetensors`, where the key covers the weights, the images and the
precision. Computing takes turns with a training in the same process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from engine import allocator
from engine.device import Compute, fastest_precision, resolve
from engine.errors import CheckpointError, ConfigError
from engine.evaluate import predict_logits
from engine.files import reason, sha256, sweep, write_atomic
from engine.predict import LayerKind, Network, load_network
from engine.runs.run import Run

SCHEMA = 2  # of a cache file; raise it when the results of the same weights change
MAX_CACHE_BYTES = 2**30  # of all files together; the ones that were not used longest go first
# Batch size. With 500 images, as in validation, the largest buffers would be allocated anew for
# each layer: outside a training thread, glibc does not keep them (engine.allocator).
BATCH = 250
TURN_BATCH = 100  # during a training, which waits for each batch
# After each of these, wait this many times as long as it took. A training beside it loses more than
# the batch's time, as both use all cores (bench.inspection).
WAIT_RATIO = 16.0
RELOADS = 5  # of weights that a training replaces while they are read


@dataclass(frozen=True)
class Predictions:
    """A network's output for N images, float32 on the CPU."""

    logits: Tensor  # [N, classes]
    features: Tensor  # [N, C], the input of the last linear layer
    weights: str  # SHA-256 of the network's weights
    precision: str  # in which they were computed: fp32, bf16 or fp16
    as_validated: bool  # in the precision and with the layers of the run's own validation

    @property
    def labels(self) -> Tensor:
        """Predicted labels, int64 [N]."""
        return self.logits.argmax(1)

    def probabilities(self, temperature: float = 1.0) -> Tensor:
        """Softmax of the logits divided by `temperature`, float32 [N, classes]."""
        return (self.logits / temperature).softmax(1)


def compute_like(run: Run) -> tuple[Compute, LayerKind]:
    """Device, precision and layers of a run's own validation, as far as this machine has them.

    On another kind of device or processor: the fastest precision here, with inference layers.
    """
    known = run.status().compute
    try:
        compute = resolve(str(known["device"]), str(known["precision"]))
        if compute.describe()["device_name"] == known["device_name"]:
            return compute, "training"
    except (KeyError, ConfigError):  # an older run, or a device that is not here
        pass
    cpu = torch.device("cpu")
    return Compute(cpu, fastest_precision(cpu)), "inference"


def predict(
    weights: Path,
    images: Tensor,
    folder: Path,
    *,
    busy: Callable[[], bool] = lambda: False,
    compute: Compute | None = None,
) -> Generator[float, None, Predictions]:
    """Yield the share done, 0 to 1, after each batch; return the predictions.

    weights: a run's folder or a file of weights in one. images: uint8 [N, 3, 32, 32]. folder: of
    the cache. busy: whether to take turns with a training. compute: None: that of the run's own
    validation (see compute_like). Raises CheckpointError or RunError.
    """
    path = weights if weights.suffix == ".safetensors" else weights / "last.safetensors"
    layers: LayerKind = "inference"
    if compute is None:
        compute, layers = compute_like(Run(path.parent))
    digest = _digest(path)
    found = _read(folder / _name(digest, images, compute, layers))
    if found is None:
        network, digest = _load(path, compute, layers)
        found = yield from _compute(network, images, compute, busy)
        _write(folder / _name(digest, images, compute, layers), found)
    yield 1.0
    about = (digest, compute.precision, layers == "training")
    return Predictions(found["logits"], found["features"], *about)


def _digest(path: Path) -> str:
    """SHA-256 of a file of weights. Raises CheckpointError."""
    try:
        return sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path.name}: cannot be read ({reason(error)})") from error


def _load(path: Path, compute: Compute, layers: LayerKind) -> tuple[Network, str]:
    """A network, and the SHA-256 of the weights that it was loaded from."""
    for _ in range(RELOADS):
        before = _digest(path)
        network = load_network(path, compute, layers)
        with contextlib.suppress(OSError):
            if sha256(path) == before:
                return network, before
    raise CheckpointError(f"{path.name}: its training replaces it all the time; try again")


def _compute(
    network: Network, images: Tensor, compute: Compute, busy: Callable[[], bool]
) -> Generator[float, None, dict[str, Tensor]]:
    classifier = network.model.get_classifier()
    logits = [torch.empty(0, len(network.classes))]
    features = [torch.empty(0, classifier.in_features)]

    def keep(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features.append(inputs[0].float().cpu())

    # A hook, and not forward_features, so that the logits are those of a validation to the bit.
    handle = classifier.register_forward_pre_hook(keep)
    try:
        with allocator.kept_blocks():
            start = 0
            while start < len(images):
                begin, turn = time.perf_counter(), busy()
                part = images[start : start + (TURN_BATCH if turn else BATCH)].to(compute.device)
                mean, std = network.mean, network.std
                logits.append(predict_logits(network.model, part, mean, std, compute).cpu())
                if turn:
                    time.sleep(WAIT_RATIO * (time.perf_counter() - begin))
                start += len(part)
                yield start / len(images)
    finally:
        handle.remove()
    return {"logits": torch.cat(logits), "features": torch.cat(features)}


def _name(digest: str, images: Tensor, compute: Compute, layers: LayerKind) -> str:
    """Name of the cache file."""
    about = f"{SCHEMA} {digest} {tuple(images.shape)} {compute.device.type} {compute.precision}"
    key = hashlib.sha256(f"{about} {layers}".encode())
    key.update(images.cpu().contiguous().numpy())
    return f"{key.hexdigest()}.safetensors"


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        found = safetensors.torch.load(path.read_bytes())
        os.utime(path)  # the files that were not used longest are removed first
        return found if found.keys() == {"logits", "features"} else None
    except (OSError, SafetensorError, ValueError):
        return None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a cache file, and remove the oldest others that exceed MAX_CACHE_BYTES.

    Where it cannot be written, the predictions are computed again the next time.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        write_atomic(path, safetensors.torch.save(tensors), durable=False)
        _limit(path)
    except OSError:
        return


def _limit(path: Path) -> None:
    room = MAX_CACHE_BYTES - path.stat().st_size
    others = [(each.stat(), each) for each in path.parent.glob("*.safetensors") if each != path]
    for about, each in sorted(others, key=lambda pair: -pair[0].st_mtime):
        room -= about.st_size
        if room < 0:
            with contextlib.suppress(OSError):  # in use, on Windows
                each.unlink()
