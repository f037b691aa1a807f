"""What train.py does without training: architectures, the accuracy of a run, its export."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine import data
from engine.config import RunConfig, with_fields
from engine.device import resolve
from engine.errors import CheckpointError, ConfigError, RunError
from engine.evaluate import TestTimeAugmentation
from engine.export import FORMATS, export
from engine.models import ARCHITECTURES
from engine.models.summary import count_parameters
from engine.predict import load_network, measure
from engine.runs.compare import other_images
from engine.runs.run import Run
from terminal.arguments import refuse_unused
from terminal.display import DataBar, print_import_notes, print_warnings


def list_architectures(args: argparse.Namespace, given: dict) -> int:
    refuse_unused(args, given, "--list", {"list"})
    for name, architecture in ARCHITECTURES.items():
        print(f"{name:18} {count_parameters(name):>12,}  {architecture.description}")
    return 0


EVALUATED = {"device", "precision", "tta", "data.dataset", "data.root", "data.url", "data.fit"}


def _weights(name: str, run_root: Path) -> Path:
    """The run or weights file of that name, in run_root or as a path. Raises RunError."""
    candidates = (run_root / name, Path(name))
    path = next((p for p in candidates if name and _exists(p)), None)
    if path is None:
        raise RunError(f"there is no run or weights file {name!r} in {run_root}")
    return path


def export_run(args: argparse.Namespace, given: dict) -> int:
    """Write a run's network to its folder `export`, in the format --to."""
    refuse_unused(args, given, "--export", {"export", "to"})
    if not args.to:
        raise ConfigError("to", f"choose the format of --export: {', '.join(FORMATS)}")
    folder = export(_weights(args.export, args.run_root), args.to)
    print(f"exported to {folder}; try: python {folder / 'use.py'} PICTURE")
    return 0


def evaluate_run(args: argparse.Namespace, given: dict) -> int:
    """Print a checkpoint's accuracy on the test images of its own or another data set."""
    path = _weights(args.evaluate, args.run_root)
    refuse_unused(args, given, "--evaluate", {"evaluate"}, EVALUATED)
    checked = with_fields(RunConfig(), given)
    compute = resolve(checked.device, checked.precision)
    network = load_network(path, compute)
    others = {path: value for path, value in given.items() if path.startswith("data.")}
    choice = with_fields(network.config, others).data
    images = data.load(
        choice.dataset, Path(choice.root), fit=choice.fit, url=choice.url, progress=DataBar()
    )
    if images.classes != network.classes:
        raise CheckpointError(
            f"{args.evaluate} knows {', '.join(network.classes)[:200]}; "
            f"{images.name} has other classes: {', '.join(images.classes)[:200]}"
        )
    print_import_notes(images)
    known, trained_on = Run(network.weights.parent).dataset_info(), network.config.data.dataset
    if choice.dataset == trained_on and (told := other_images(known, images.describe())):
        print_warnings([told])
    tta = TestTimeAugmentation.like_training(network.config.augment) if checked.tta else None
    tally = measure(network, images.test_images, images.test_labels, compute, tta=tta)
    how = f", with test-time augmentation ({_views(tta)})" if tta else ""
    fingerprint = known.get("fingerprint")  # of older runs, only the place is known
    same = fingerprint and fingerprint["test"] == images.fingerprint["test"]
    own = same if fingerprint else choice.dataset == trained_on
    if own and network.config.data.holdout == 0 and network.weights.stem == "best":
        how += " (which selected these weights)"
    print(f"{network.weights} on the test images of {images.name}{how}: loss {tally.loss:.4f}")
    print(f"accuracy {100 * tally.acc:.2f} % ({tally.correct}/{tally.count})")
    return 0


def _views(tta: TestTimeAugmentation) -> str:
    return (
        f"{tta.count} views" if tta.count > 1 else "1 view: the run trained without flip and crop"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a path
        return False
