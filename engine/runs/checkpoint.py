"""Weights and checkpoints on disk: written atomically, verified by checksum when loaded."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.errors import CheckpointError
from engine.files import (
    read_regular,
    reason,
    remove,
    replace,
    sha256,
    sync_folder,
    write_atomic,
)
from engine.models import ARCHITECTURES

SCHEMA = 1
MAX_MANIFEST_BYTES = 2**20
KEEP = 2  # checkpoints of a run: the newest, and one to fall back on


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, on the CPU."""

    step: int
    weights: dict[str, Tensor]
    header: dict[str, str]  # of the weights: architecture, activation, norm, width …
    state: dict[str, Any]  # optimizer, scaler, sums, best so far, position
    damaged: tuple[str, ...] = ()  # names of newer ones, which were passed over


def describe_model(model: ModelConfig) -> dict[str, str]:
    """Metadata stored with weights, from which the network that they fit can be rebuilt."""
    own = ARCHITECTURES[model.arch]
    return {
        "schema": str(SCHEMA),
        "arch": model.arch,
        "activation": model.activation or own.activation,
        "norm": model.norm or own.norm,
        "width": f"{model.width:g}",
        "num_classes": str(model.num_classes),
        "whitening": str(model.whitening or own.whitening).lower(),
    }


def save_weights(path: Path, weights: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file atomically. Raises CheckpointError if it cannot be written."""
    try:
        write_atomic(path, _serialize(weights, header))
    except OSError as error:
        raise _cannot_save(path, error) from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors on the CPU, metadata) of a safetensors file. Raises CheckpointError."""
    with _opened(path) as file:
        # Copies: Windows cannot replace, move or delete a file that is mapped.
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        return tensors, dict(file.metadata() or {})


def read_shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """(shape of each tensor, metadata) of a safetensors file: load_weights without the weights."""
    with _opened(path) as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        return shapes, dict(file.metadata() or {})


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(f"{path.name}: no such weights file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name}: not a readable safetensors file ({error})") from error


def apply_weights(
    model: nn.Module, weights: dict[str, Tensor], header: dict[str, str], expected: dict[str, str]
) -> None:
    """Copy `weights` into `model`, whose memory format stays.

    Raises CheckpointError that names the items that do not fit.

    expected: the header that describe_model gives for `model`.
    """
    check_fit(model, {key: tuple(w.shape) for key, w in weights.items()}, header, expected)
    broken = [key for key, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    _refuse([f"{key} holds values that are not finite" for key in broken])
    model.load_state_dict(weights)


def check_fit(
    model: nn.Module,
    shapes: dict[str, tuple[int, ...]],
    header: dict[str, str],
    expected: dict[str, str],
) -> None:
    """Raise CheckpointError unless weights of these shapes fit `model`; see apply_weights."""
    _refuse(_header_problems(header, expected) + _shape_problems(model, shapes))


def _refuse(problems: list[str]) -> None:
    if problems:
        shown = "; ".join(problems[:5]) + (f"; {len(problems) - 5} more" if problems[5:] else "")
        raise CheckpointError(f"these weights do not fit: {shown}")


def _header_problems(header: dict[str, str], expected: dict[str, str]) -> list[str]:
    try:
        schema = int(header.get("schema", "1"))
    except ValueError:
        return [f"schema {header['schema'][:20]!r} is not a number"]
    if schema > SCHEMA:
        return [f"schema {schema} is newer than this program's ({SCHEMA}); update it"]
    return [
        f"{key} is {header[key][:60]}, the network has {value}"
        for key, value in expected.items()
        if key != "schema" and key in header and header[key] != value
    ]


def _shape_problems(model: nn.Module, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    problems = [f"{key} is missing" for key in wanted if key not in shapes]
    for key, have in shapes.items():
        if key not in wanted:
            problems.append(f"{key} is unknown")
        elif have != wanted[key]:
            problems.append(f"{key} has shape {have}, the network {wanted[key]}")
    return problems


def has_checkpoint(folder: Path) -> bool:
    """Whether the run in `folder` has a checkpoint, intact or not."""
    return bool(_saved(folder / "resume"))


class CheckpointStore:
    """The checkpoints in one run's folder: resume/<step>/, best.safetensors, last.safetensors."""

    def __init__(self, folder: Path, header: dict[str, str]):
        self.folder, self.header = folder, header
        self.resume = folder / "resume"
        self._damaged: tuple[str, ...] = ()  # folders that load_newest has passed over

    def save(
        self,
        step: int,
        weights: dict[str, Tensor],
        state: dict[str, Any],
        result: dict[str, Tensor] | None = None,
    ) -> None:
        """Write resume/<step>/ under a temporary name, sync it, rename it, delete older ones.

        result: weights for last.safetensors if they differ from the trained ones (EMA).
        Raises CheckpointError (disk full, folder not writable); older checkpoints stay intact.
        """
        staging = self.resume / f".{step}.tmp"
        final = self._unused(step)
        content = _serialize(weights, self.header)
        try:
            # Before the checkpoint, so that last.safetensors is never older than it: a run that is
            # killed in its final save has nothing left to train when it is resumed.
            last = content if result is None else _serialize(result, self.header)
            write_atomic(self.folder / "last.safetensors", last)
            self.resume.mkdir(exist_ok=True)
            self._remove_leftovers()
            staging.mkdir()
            _write_synced(staging / "weights.safetensors", content)
            _write_synced(staging / "state.pt", _pickle(state))
            digests = {name: sha256(staging / name) for name in ("weights.safetensors", "state.pt")}
            manifest = {"schema": SCHEMA, "step": step, "sha256": digests}
            _write_synced(staging / "manifest.json", json.dumps(manifest).encode())
            sync_folder(staging)
            replace(staging, final)
            sync_folder(self.resume)
            self._remove_old()
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise _cannot_save(final, error) from error

    def save_best(self, weights: dict[str, Tensor], epoch: int, val_acc: float) -> None:
        """Write best.safetensors, with its epoch and validation accuracy in the metadata."""
        header = {**self.header, "epoch": str(epoch), "val_acc": f"{val_acc:.6f}"}
        save_weights(self.folder / "best.safetensors", weights, header)

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint whose checksums match; None if there is none.

        Raises CheckpointError if all of them are damaged.
        """
        folders, damaged = _saved(self.resume), []
        for folder in reversed(folders):
            if not _is_intact(folder):
                damaged.append(folder.name)
                continue
            weights, header = load_weights(folder / "weights.safetensors")
            try:
                state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
            except Exception as error:  # the checksum matches: written by another version
                raise CheckpointError(
                    f"{folder.name}/state.pt: cannot be read ({error})"
                ) from error
            self._damaged = tuple(damaged)
            return Checkpoint(state["step"], weights, header, state, self._damaged)
        if folders:
            raise CheckpointError("every checkpoint of this run is damaged; start a new run")
        return None

    def _unused(self, step: int) -> Path:
        """An unused folder name: replacing a folder would delete it first."""
        same = [path.name for path in _saved(self.resume) if path.name.split(".")[0] == str(step)]
        if not same:
            return self.resume / str(step)
        return self.resume / f"{step}.{int(same[-1].partition('.')[2] or 0) + 1}"

    def _remove_old(self) -> None:
        """Delete all but the newest checkpoints. A damaged one takes no place of these."""
        saved = _saved(self.resume)
        kept = [folder for folder in saved if folder.name not in self._damaged][-KEEP:]
        for folder in saved:
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Delete temporary files of killed writers; the lock is ours."""
        for path in (*self.resume.glob(".*.tmp"), *self.folder.glob(".*.safetensors.*.tmp")):
            remove(path)


def _saved(resume: Path) -> list[Path]:
    """Checkpoint folders, oldest first. A step saved again has .1, .2 … after its number."""
    if not resume.is_dir():
        return []
    found = {}
    for path in resume.iterdir():
        step, _, again = path.name.partition(".")
        if step.isdecimal() and (again.isdecimal() or not again):
            found[int(step), int(again or 0)] = path
    return [found[key] for key in sorted(found)]


def _serialize(weights: dict[str, Tensor], header: dict[str, str]) -> bytes:
    # safetensors needs contiguous tensors; channels_last ones are not.
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.items()}
    return _sorted_metadata(safetensors.torch.save(plain, metadata=header))


def _sorted_metadata(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted: the same weights then give the same bytes.

    The format: 8 bytes with the length of the JSON header, the header, the tensors. safetensors
    writes the metadata in a random order.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _pickle(state: dict[str, Any]) -> memoryview:
    # In memory: torch.save to a file reports a full disk without the system's reason.
    file = io.BytesIO()
    torch.save(state, file)
    return file.getbuffer()


def _write_synced(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _is_intact(folder: Path) -> bool:
    try:
        manifest = json.loads(read_regular(folder / "manifest.json", MAX_MANIFEST_BYTES))
        newer = manifest["schema"] > SCHEMA
        digests = manifest["sha256"]
        complete = set(digests) == {"weights.safetensors", "state.pt"}
        same = complete and all(sha256(folder / name) == value for name, value in digests.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    if newer:
        raise CheckpointError(f"checkpoint {folder.name} was written by a newer version; update")
    return same


def _cannot_save(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"could not save {path.name}: {reason(error)}, then resume the run")
